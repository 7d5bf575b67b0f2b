//! Cross-origin requests (<https://fetch.spec.whatwg.org/#http-cors-protocol>): web pages of origins that the operator lists
//! may use this server, each request with its own token or signature. There is no origin by default.
//!
//! A page has no rights by what the browser adds on its own. Answers never allow such credentials
//! (`Access-Control-Allow-Credentials`), but that only keeps a page from reading them: a request that needs no question before it
//! is sent with the TLS certificate of the user all the same. So [`FromPage`] marks it, and its certificate counts for nothing.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};

use super::headers::text;

/// Maximum time for which a browser remembers what a page may do.
const REMEMBERED: &str = "600";

/// Maximum length of the list of headers that a page asks for.
const HEADERS_BYTES_MAX: usize = 4096;

/// Headers of an answer that a page reads without permission, and those that are not for it.
const NOT_EXPOSED: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
];

/// Mark of a request that a page of a listed origin made: the certificate of its connection is the user's, and no proof of the
/// page.
#[derive(Debug, Clone, Copy)]
pub struct FromPage;

/// Origins whose pages may use this server. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Origins(Arc<[String]>);

impl Origins {
    /// Collects origins such as `https://horizon.example`, as browsers write them.
    pub fn new(listed: impl IntoIterator<Item = String>) -> Self {
        Self(listed.into_iter().collect())
    }

    /// True if no origin is listed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The origin of a request, if it is listed.
    pub(super) fn of<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let mut values = headers.get_all(header::ORIGIN);
        let origin = values.next().filter(|_| !self.is_empty() && values.next().is_none())?;
        let named = origin.to_str().ok()?;
        self.0.iter().any(|listed| listed == named).then_some(origin)
    }
}

/// Tells whether a request asks for a page what it may do.
pub(super) fn is_preflight(request: &HttpRequest) -> bool {
    *request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a page that asks what it may do at a path with these methods.
pub(super) fn preflight(request: &HttpRequest, origin: &HeaderValue, methods: &[Method]) -> HttpResponse {
    let mut response = HttpResponse::NoContent();
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    response.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
    response.insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, methods.join(", ")));
    response.insert_header((header::ACCESS_CONTROL_MAX_AGE, REMEMBERED));
    let asked = text(request.headers(), header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let names: Vec<String> = asked
        .split(',')
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .map(|name| name.as_str().to_owned())
        .collect();
    // Every header is for some protocol, and each is read or refused as if it came from any other client.
    if !names.is_empty() && asked.len() <= HEADERS_BYTES_MAX {
        response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, names.join(", ")));
    }
    response.insert_header((header::VARY, "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"));
    response.finish()
}

/// Lets a page read an answer: all of its headers, whichever its protocol has.
pub(super) fn let_read(headers: &mut HeaderMap, origin: HeaderValue) {
    let mut names: Vec<&str> =
        headers.keys().filter(|name| !NOT_EXPOSED.contains(name)).map(HeaderName::as_str).collect();
    // Added outside of the gate.
    names.extend(["x-request-id", "x-visor-error"]);
    names.sort_unstable();
    names.dedup();
    if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// Tells caches that an answer depends on the page.
pub(super) fn vary(headers: &mut HeaderMap) {
    let named = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("origin"));
    if !headers.get_all(header::VARY).any(named) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn an_origin_is_listed_or_it_is_not() {
        let origins = Origins::new(["https://horizon.example".to_owned(), "http://lab:8080".to_owned()]);
        let listed = |values: &[&str]| {
            let mut request = TestRequest::get();
            for value in values {
                request = request.append_header(("origin", *value));
            }
            origins.of(request.to_http_request().headers()).is_some()
        };
        assert!(listed(&["https://horizon.example"]) && listed(&["http://lab:8080"]));
        for other in [
            &[][..],
            &["null"],
            &["*"],
            &["https://horizon.example."],
            &["https://horizon.example.evil"],
            &["http://horizon.example"],
            &["https://horizon.example:444"],
            &["http://lab"],
            &["https://horizon.example", "https://evil.example"],
        ] {
            assert!(!listed(other), "{other:?}");
        }
        let request = TestRequest::get().append_header(("origin", "https://horizon.example")).to_http_request();
        assert!(Origins::default().of(request.headers()).is_none());
    }

    #[test]
    fn a_page_reads_what_its_protocol_says() {
        let mut headers = HeaderMap::new();
        for name in ["etag", "content-type", "x-image-meta-name", "upload-offset"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        let_read(&mut headers, HeaderValue::from_static("https://horizon.example"));
        vary(&mut headers);
        vary(&mut headers);
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        let exposed = "etag, upload-offset, x-image-meta-name, x-request-id, x-visor-error";
        assert_eq!(text("access-control-expose-headers"), exposed);
        assert_eq!(text("access-control-allow-origin"), "https://horizon.example");
        assert_eq!(headers.get_all("vary").count(), 1);
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }
}
