//! Reading single headers of a request.

use actix_web::http::header::{self, AsHeaderName, HeaderMap};

/// A header's value, if it is there and text.
pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether headers say that a body follows, as far as they can tell.
pub fn announce_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}
