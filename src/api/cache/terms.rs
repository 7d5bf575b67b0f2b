//! Terms of a request: what its headers say of the answer's age, and of the servers that it came through.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderName};

use crate::cache::{Freshness, Lookup};

/// Reads the terms of a request.
pub(super) fn of(request: &HttpRequest) -> Lookup {
    Lookup {
        head: request.method() == Method::HEAD,
        freshness: freshness(request),
        require: None,
        via: list(request, &header::VIA),
    }
}

/// Age that the client accepts. `Pragma` counts where `Cache-Control` does not say otherwise (RFC 9111, section 5.4).
fn freshness(request: &HttpRequest) -> Freshness {
    let directives = list(request, &header::CACHE_CONTROL);
    let says = |wanted: &str| directives.iter().any(|directive| directive.eq_ignore_ascii_case(wanted));
    let old = directives.is_empty()
        && list(request, &header::PRAGMA).iter().any(|word| word.eq_ignore_ascii_case("no-cache"));
    match () {
        () if says("only-if-cached") => Freshness::OnlyIfCached,
        () if says("no-cache") || says("max-age=0") || old => Freshness::Revalidate,
        () => Freshness::Usual,
    }
}

/// The members of a list, from all headers of a name.
fn list(request: &HttpRequest, name: &HeaderName) -> Vec<String> {
    let values = request.headers().get_all(name).filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|member| member.trim().to_owned()).filter(|m| !m.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn headers_say_which_age_is_accepted() {
        for (headers, expected) in [
            (&[][..], Freshness::Usual),
            (&[("cache-control", "no-cache")], Freshness::Revalidate),
            (&[("cache-control", "no-store, No-Cache")], Freshness::Revalidate),
            (&[("cache-control", "max-age=0")], Freshness::Revalidate),
            (&[("cache-control", "max-age=60")], Freshness::Usual),
            (&[("pragma", "no-cache")], Freshness::Revalidate),
            (&[("cache-control", "max-age=60"), ("pragma", "no-cache")], Freshness::Usual),
            (&[("cache-control", "no-cache"), ("cache-control", "only-if-cached")], Freshness::OnlyIfCached),
        ] {
            let mut request = TestRequest::get();
            for header in headers {
                request = request.append_header(*header);
            }
            assert_eq!(of(&request.to_http_request()).freshness, expected, "{headers:?}");
        }
        let request = TestRequest::get().append_header(("via", "1.1 a, 1.1 b")).append_header(("via", "1.1 c"));
        assert_eq!(of(&request.to_http_request()).via, ["1.1 a", "1.1 b", "1.1 c"]);
    }
}
