//! Reading of single headers of a request.

use actix_web::http::header::{self, AsHeaderName, HeaderMap, HeaderValue};

/// A header's value, if the header exists and is text.
pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Room for the free attributes of an image in the headers of an answer. Its client has to be able to read the answer: many
/// libraries take 100 headers at most, and lines of less than 64 KiB. Attributes without room are in the answers' bodies only.
pub struct AttributeRoom {
    headers: usize,
    bytes: usize,
}

impl Default for AttributeRoom {
    fn default() -> Self {
        Self { headers: 64, bytes: 64 << 10 }
    }
}

impl AttributeRoom {
    /// Takes the room of a header, if there is so much.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        // With what stands between them, and behind.
        let bytes = self.bytes.checked_sub(name.len() + value.len() + 4);
        let (Some(headers), Some(bytes)) = (self.headers.checked_sub(1), bytes) else { return false };
        *self = Self { headers, bytes };
        true
    }
}

/// The value of an attribute as a header can have it: on one line.
pub fn attribute_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(text.replace(char::is_control, " ").into_bytes()).ok()
}

/// Tells whether headers announce a body.
pub fn announce_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_stay_few_and_short() {
        let mut room = AttributeRoom::default();
        assert!(!room.take("a", &"x".repeat(64 << 10)));
        assert!(room.take("a", &"x".repeat(40_000)));
        assert!(!room.take("a", &"x".repeat(40_000)));
        assert_eq!((0..100).filter(|_| room.take("b", "")).count(), 63);
        assert_eq!(attribute_value("ä\r\nb\t").unwrap().as_bytes(), "ä  b ".as_bytes());
    }
}
