//! Every reason through every protocol: the answers, and `docs/errors.md`, which is made of them.

use actix_web::body::to_bytes;
use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};

use super::glance::error::ApiVersion;
use super::{cache, glance, identity, lxd, simplestreams, visor};
use crate::error::{Error, Reason};
use crate::http::refusal::CODE;

/// A protocol as far as errors go.
struct Protocol {
    name: &'static str,
    told: fn(&Error) -> (StatusCode, String),
    render: fn(&HttpRequest, &Error) -> HttpResponse,
}

fn as_v1(request: &HttpRequest, error: &Error) -> HttpResponse {
    request.extensions_mut().insert(ApiVersion::V1);
    glance::error::render(request, error)
}

const PROTOCOLS: [Protocol; 7] = [
    Protocol { name: "VISOR", told: visor::error::told, render: visor::error::render },
    Protocol { name: "Glance v1", told: |error| glance::error::told(ApiVersion::V1, error), render: as_v1 },
    Protocol {
        name: "Glance v2",
        told: |error| glance::error::told(ApiVersion::V2, error),
        render: glance::error::render,
    },
    Protocol { name: "LXD", told: lxd::error::told, render: lxd::error::render },
    Protocol { name: "identity", told: identity::error::told, render: identity::error::render },
    Protocol { name: "simplestreams", told: simplestreams::error::told, render: simplestreams::error::render },
    Protocol { name: "cache", told: cache::error::told, render: cache::error::render },
];

/// An error whose subjects show where they stand.
fn sample(reason: Reason) -> Error {
    (0..3).fold(Error::from(reason), |error, _| error.and("{}"))
}

#[actix_web::test]
async fn every_reason_has_an_answer_in_every_protocol() {
    for reason in Reason::ALL {
        for Protocol { name, told, render } in &PROTOCOLS {
            let error = sample(*reason);
            let (status, words) = told(&error);
            assert!(status.is_client_error() || status.is_server_error(), "{name}: {}", reason.code());
            let request = TestRequest::get().insert_header(("accept", "text/plain")).to_http_request();
            let response = render(&request, &error);
            assert_eq!(response.status(), status, "{name}: {}", reason.code());
            assert_eq!(response.headers().get(CODE).unwrap(), reason.code(), "{name}");
            let body = to_bytes(response.into_body()).await.unwrap();
            let body = String::from_utf8_lossy(&body).replace("\\\"", "\"");
            assert!(body.contains(&words), "{name}: {body} has not {words}");
        }
    }
}

#[test]
fn no_protocol_names_more_subjects_than_the_core_gives() {
    for reason in Reason::ALL {
        for Protocol { name, told, .. } in &PROTOCOLS {
            let (_, words) = told(&sample(*reason));
            // The words of one reason are the neutral ones of none, and name a thing or two of what those name.
            let (named, given) = (words.matches("{}").count(), reason.words().matches("{}").count());
            let more = [Reason::NoSuchStore, Reason::FingerprintMismatch].contains(reason);
            assert!(named <= given || more, "{name}: {}: {words}", reason.code());
        }
    }
}

/// The page as it has to be.
fn page() -> String {
    let mut page = String::from(
        "# Errors\n\nThis page is made of the source: `VISOR_BLESS=1 cargo test errors_tests` writes it, and the test fails \
         when it is not true.\n\nEvery answer that refuses something carries the code of its reason in the header \
         `x-visor-error`. Codes are stable; words are for people. A thing that the caller may not know of and a thing that \
         does not exist have the same code and the same words. Each `{}` stands for a thing that the words name; in some \
         places the words are more particular than these.\n\n## Statuses\n\n| code | neutral words |",
    );
    PROTOCOLS.iter().for_each(|protocol| page += &format!(" {} |", protocol.name));
    page += &format!("\n|---|---|{}\n", "---|".repeat(PROTOCOLS.len()));
    for reason in Reason::ALL {
        page += &format!("| `{}` | {} |", reason.code(), reason.words());
        PROTOCOLS.iter().for_each(|protocol| page += &format!(" {} |", (protocol.told)(&sample(*reason)).0.as_u16()));
        page.push('\n');
    }
    for Protocol { name, told, .. } in &PROTOCOLS {
        page += &format!("\n## Words of {name}\n\n| code | words |\n|---|---|\n");
        let own = Reason::ALL.iter().map(|reason| (reason, told(&sample(*reason)).1));
        for (reason, words) in own.filter(|(reason, words)| *words != reason.words()) {
            page += &format!("| `{}` | {words} |\n", reason.code());
        }
    }
    page
}

#[test]
fn the_page_of_errors_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    let page = page();
    if std::env::var_os("VISOR_BLESS").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/errors.md is out of date: run `VISOR_BLESS=1 cargo test errors_tests`");
}
