//! Reading of single headers of a request.

use actix_web::http::header::{self, AsHeaderName, HeaderMap};

/// A header's value, if the header exists and is text.
pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Tells whether headers announce a body.
pub fn announce_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}
