//! Single headers: reading those of requests, and room for attributes in those of answers.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{self, AsHeaderName, HeaderMap, HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The header that counts the attributes of an image that an answer's headers do not have.
const LEFT_OUT: &str = "x-visor-left-out";

/// A header's value, if the header exists and is text.
pub fn text(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Room for the free attributes of an image in the headers of an answer. Its client has to be able to read the answer: many
/// libraries take 100 headers at most, and lines of less than 64 KiB. Attributes without room are in the answers' bodies only.
pub struct AttributeRoom {
    headers: usize,
    bytes: usize,
    left_out: usize,
}

impl Default for AttributeRoom {
    fn default() -> Self {
        Self { headers: 64, bytes: 64 << 10, left_out: 0 }
    }
}

impl AttributeRoom {
    /// Takes the room of a header, if there is so much.
    pub fn take(&mut self, name: &str, value: &str) -> bool {
        // With what stands between them, and behind.
        let bytes = self.bytes.checked_sub(name.len() + value.len() + 4);
        let (Some(headers), Some(bytes)) = (self.headers.checked_sub(1), bytes) else {
            self.left_out += 1;
            return false;
        };
        (self.headers, self.bytes) = (headers, bytes);
        true
    }

    /// Tells the client how many attributes had no room, if any had none.
    pub fn tell(&self, response: &mut HttpResponseBuilder) {
        if self.left_out > 0 {
            response.append_header((LEFT_OUT, self.left_out));
        }
    }
}

/// The value of an attribute as a header can have it: on one line.
pub fn attribute_value(text: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(text.replace(char::is_control, " ").into_bytes()).ok()
}

/// The headers with the SHA-256 of all bytes (RFC 9530, and RFC 3230 for older clients).
pub fn digest_headers(sha256: &[u8]) -> [(HeaderName, String); 2] {
    let digest = STANDARD.encode(sha256);
    [
        (HeaderName::from_static("repr-digest"), format!("sha-256=:{digest}:")),
        (HeaderName::from_static("digest"), format!("sha-256={digest}")),
    ]
}

/// Tells whether headers announce a body.
pub fn announce_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// Tells whether a value of `Content-Type` is of a media type, which is compared without case and without its parameters
/// (RFC 9110, section 8.3.1).
pub fn is_type(content_type: &str, name: &str) -> bool {
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(name))
}

/// Returns what follows a word and a separator, such as an authentication scheme or a unit. The word is compared without case.
pub fn behind<'a>(value: &'a str, word: &str, separator: char) -> Option<&'a str> {
    let (first, rest) = value.trim().split_once(separator)?;
    first.trim_end().eq_ignore_ascii_case(word).then_some(rest)
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
        let mut response = actix_web::HttpResponse::Ok();
        room.tell(&mut response);
        assert_eq!(response.finish().headers().get(LEFT_OUT).unwrap(), "39");
        let mut response = actix_web::HttpResponse::Ok();
        AttributeRoom::default().tell(&mut response);
        assert!(!response.finish().headers().contains_key(LEFT_OUT));
        assert_eq!(attribute_value("ä\r\nb\t").unwrap().as_bytes(), "ä  b ".as_bytes());
    }

    #[test]
    fn words_are_compared_as_the_rfcs_say() {
        for same in ["text/plain", "Text/PLAIN", " text/plain ;charset=utf-8", "text/plain;x=y"] {
            assert!(is_type(same, "text/plain"), "{same}");
        }
        for other in ["text/plainer", "text", "", "text/html; text/plain"] {
            assert!(!is_type(other, "text/plain"), "{other}");
        }
        assert_eq!(behind("BYTES=0-1", "bytes", '='), Some("0-1"));
        assert_eq!(behind(" bytes =0-1", "bytes", '='), Some("0-1"));
        for other in ["bytes", "bites=0-1", "bytes 0-1", "=0-1"] {
            assert_eq!(behind(other, "bytes", '='), None, "{other}");
        }
    }
}
