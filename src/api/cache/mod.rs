//! The door of the cache: `GET /cache/{http|https}/host/path` is the file of another server, for clients that know nothing but HTTP.
//!
//! Parses, asks the cache, and renders. Knows no image and no other protocol.

mod admission;
pub(in crate::api) mod error;
mod terms;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use self::error::{no_method, no_path, render};
use super::Setup;
use super::auth::AuthRules;
use crate::cache::{Cache, Key, Outcome, Served};
use crate::error::{Reason, Result};
use crate::http::conditional::Facts;
use crate::http::deliver::deliver_from;
use crate::http::headers::{attribute_value, digest_headers};
use crate::http::origin::{Buffers, Origin};
use crate::http::protocol::{Protocol, Service};
use crate::http::route::{Answers, RouteTable, read};
use crate::http::time::read_http_date;
use crate::registry::policy::Action;
use crate::registry::{Delivery, Registry};

/// The protocol.
pub(super) static PROTOCOL: Protocol = Protocol { name: "cache", covers, tables, render, no_path };

/// Prefixes of the paths: what follows is a URL without its `://`.
const PREFIXES: [(&str, &str); 2] = [("/cache/http", "http"), ("/cache/https", "https")];

/// Opens the protocol on a server.
pub(super) fn open(setup: &Setup) -> Box<dyn Service> {
    Box::new(Door {
        registry: Arc::clone(&setup.registry),
        cache: setup.cache.clone(),
        auth: setup.auth.clone(),
        buffers: setup.buffers.clone(),
    })
}

/// State that the handlers share.
#[derive(Clone)]
struct Door {
    /// For the clock.
    registry: Arc<Registry>,
    /// The cache, unless it is switched off.
    cache: Option<Arc<Cache>>,
    auth: AuthRules,
    buffers: Buffers,
}

impl Service for Door {
    fn protocol(&self) -> &'static Protocol {
        &PROTOCOL
    }

    fn share(&self, app: &mut ServiceConfig) {
        app.app_data(Data::new(self.clone()));
    }
}

fn covers(path: &str) -> bool {
    asked_url(path).is_some()
}

fn tables() -> Vec<RouteTable> {
    let answers = Answers { no_method: Some(no_method), no_path: None };
    // Two tables with plain prefixes: a pattern would be compared with the path of every other request too.
    let table = |(prefix, _)| RouteTable::below(prefix, answers, vec![read("/{url:.*}", Action::ReadCache, read_file)]);
    PREFIXES.map(table).into()
}

/// The scheme and the rest of the URL that a path asks for, as they came.
fn asked_url(path: &str) -> Option<(&'static str, &str)> {
    PREFIXES.iter().find_map(|(prefix, scheme)| Some((*scheme, path.strip_prefix(prefix)?.strip_prefix('/')?)))
}

/// The key that a request asks for. From its own target: what the router matched is decoded in part.
fn key_of(request: &HttpRequest) -> Result<Key> {
    let target = request.uri();
    let (scheme, rest) = asked_url(target.path()).ok_or(Reason::PathNotFound)?;
    Key::of_path(scheme, rest, target.query().unwrap_or_default())
}

async fn read_file(request: HttpRequest, door: Data<Door>) -> HttpResponse {
    match answer(&request, &door).await {
        Ok(response) => response,
        Err(error) => render(&request, &error),
    }
}

async fn answer(request: &HttpRequest, door: &Door) -> Result<HttpResponse> {
    let cache = door.cache.as_ref().ok_or_else(|| {
        Reason::Unsupported.saying("This server keeps no files of other servers: its setting cache.enabled is false.")
    })?;
    let key = key_of(request)?;
    door.admit(request, cache, &key).await?;
    let served = Arc::new(cache.get(&key, &terms::of(request)).await?);
    let source = Arc::clone(&served);
    let origin = Origin::new(move |range| {
        let source = Arc::clone(&source);
        async move {
            let is_whole = range.is_none();
            source.open(range).await.map(|body| Delivery::exact(body, is_whole))
        }
    });
    let origin = origin.in_parts(served.size.is_some());
    let origin = if is_coming(&served) { origin.in_one_part() } else { origin };
    let origin = origin.of_type(served.content_type.as_deref().unwrap_or("application/octet-stream"));
    let facts = Facts {
        etag: served.etag.clone(),
        modified_s: served.last_modified.as_deref().and_then(read_http_date),
        size: served.size,
    };
    let mut response = deliver_from(&origin, facts, &door.buffers, request, |_: &mut HttpResponseBuilder| {}).await?;
    let is_part = response.status() == actix_web::http::StatusCode::PARTIAL_CONTENT;
    introduce(response.headers_mut(), &served, is_part && request.method() == Method::GET);
    Ok(response)
}

/// Tells whether a file is on its way in: nothing is known of it yet but its head.
fn is_coming(served: &Served) -> bool {
    matches!(served.outcome, Outcome::Fill | Outcome::Follow | Outcome::Passed)
}

/// Adds what every answer says of the cache: how old the file is, where it came from, and how far it was verified.
fn introduce(headers: &mut HeaderMap, served: &Served, is_part: bool) {
    if !is_coming(served) {
        headers.insert(header::AGE, HeaderValue::from(served.age.as_secs()));
    }
    headers.insert(header::VIA, HeaderValue::from_static("1.1 visor"));
    let texts = [
        (HeaderName::from_static("cache-status"), status_of(&served.outcome, is_part)),
        (HeaderName::from_static("x-visor-verified"), format!("{}; {}", served.level, served.words)),
    ];
    let digests = served.sha256().map(|sha256| digest_headers(&sha256));
    for (name, text) in texts.into_iter().chain(digests.into_iter().flatten()) {
        if let Some(value) = attribute_value(&text) {
            headers.insert(name, value);
        }
    }
}

/// The value of `Cache-Status` (RFC 9211). Parts of a file that is coming are not verified, and are the only bytes of which it says so:
/// the end of a whole one is held back until it is.
fn status_of(outcome: &Outcome, is_part: bool) -> String {
    let unverified = if is_part { "; detail=unverified" } else { "" };
    match outcome {
        Outcome::Hit { ttl: Some(ttl) } => format!("visor; hit; ttl={ttl}"),
        Outcome::Hit { ttl: None } => "visor; hit".to_owned(),
        Outcome::Stale { detail } => format!("visor; hit; detail={detail}"),
        Outcome::Offline => "visor; hit; detail=offline".to_owned(),
        Outcome::Passed => "visor; fwd=miss".to_owned(),
        Outcome::Revalidated => "visor; fwd=stale; fwd-status=304".to_owned(),
        Outcome::Fill => format!("visor; fwd=miss; stored{unverified}"),
        Outcome::Follow => format!("visor; fwd=miss; collapsed{unverified}"),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_url_is_read_as_it_came() {
        for (target, url) in [
            ("/cache/https/h.example/a%2Fb//c+d%20e?x=1%26&y", "https://h.example/a%2Fb//c+d%20e?x=1%26&y"),
            ("/cache/http/h.example:8080", "http://h.example:8080/"),
            ("/cache/http/[::1]:8080/x", "http://[::1]:8080/x"),
            ("/cache/https/h.example/", "https://h.example/"),
        ] {
            let request = TestRequest::with_uri(target).to_http_request();
            assert_eq!(key_of(&request).unwrap().url(), url, "{target}");
        }
        for other in ["/cache/ftp/h.example/x", "/cache", "/cache/http", "/cache/httpsx/h.example/"] {
            assert!(!covers(other), "{other}");
        }
        for bad in ["/cache/http//x", "/cache/https/me:x@h.example/", "/cache/https/h.example/%2e%2e/x"] {
            let request = TestRequest::with_uri(bad).to_http_request();
            assert_eq!(key_of(&request).unwrap_err().reason(), Reason::UrlRefused, "{bad}");
        }
    }

    #[test]
    fn the_status_says_where_the_bytes_come_from() {
        for (outcome, is_part, text) in [
            (Outcome::Hit { ttl: Some(60) }, true, "visor; hit; ttl=60"),
            (Outcome::Hit { ttl: None }, false, "visor; hit"),
            (Outcome::Stale { detail: "upstream-dead" }, false, "visor; hit; detail=upstream-dead"),
            (Outcome::Fill, false, "visor; fwd=miss; stored"),
            (Outcome::Follow, true, "visor; fwd=miss; collapsed; detail=unverified"),
        ] {
            assert_eq!(status_of(&outcome, is_part), text);
        }
    }
}
