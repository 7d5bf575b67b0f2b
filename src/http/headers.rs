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
