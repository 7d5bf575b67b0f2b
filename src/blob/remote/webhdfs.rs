//! WebHDFS over plain HTTP: the user stands in the URL, and a namenode answers with the place of the bytes.
//!
//! Looks at requests and answers, and sends none.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest URL that a namenode answers with.
const PLACE_BYTES_MAX: usize = 8 * 1024;

/// Adds the user to a request.
pub(super) fn say_who(parts: &mut Parts, user: &str) {
    if user.is_empty() {
        return;
    }
    let said = utf8_percent_encode(user, NON_ALPHANUMERIC);
    let query = parts.uri.query().unwrap_or_default();
    let target = format!("{}?{query}&user.name={said}", parts.uri.path());
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = target.parse().ok();
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
}

/// Declares a body as bytes: gateways accept no other type.
pub(super) fn say_what(parts: &mut Parts) {
    parts.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/octet-stream"));
}

/// Turns a redirect into the answer that was asked for, from a server that knows no `noredirect`.
pub(super) fn place(parts: &Parts, headers: &HeaderMap, status: StatusCode) -> Option<Bytes> {
    let asked = parts.uri.query().is_some_and(|query| query.contains("noredirect=true"));
    if !asked || status != StatusCode::TEMPORARY_REDIRECT {
        return None;
    }
    let place = headers.get(LOCATION)?.to_str().ok().filter(|place| place.len() <= PLACE_BYTES_MAX)?;
    Some(serde_json::json!({ "Location": place }).to_string().into())
}
