//! Reading what another server says about its bytes. Pure: headers in, facts out.

use std::ops::Range;

use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};

/// Longest entity tag that is kept: it goes into records and answers.
const ETAG_BYTES_MAX: usize = 256;

/// Longest header of an answer that is looked at.
const TOLD_BYTES_MAX: usize = 8192;

/// Headers of an answer.
#[derive(Debug, Clone, Default)]
pub struct Told(HeaderMap);

impl Told {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self(headers.clone())
    }

    /// A header's value, if there is one that is text and not absurdly long. Case does not matter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok().map(str::trim).filter(|text| text.len() <= TOLD_BYTES_MAX)
    }
}

/// The announced length. For an answer to `HEAD` too, which has no body to measure.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    // `parse` would take a sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The entity tag without its quotes. A weak one is none: it does not stand for the very bytes.
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?.strip_prefix('"')?.strip_suffix('"')?;
    (!tag.is_empty() && tag.len() <= ETAG_BYTES_MAX && !tag.contains('"')).then(|| tag.to_owned())
}

/// Tells whether the body is not compressed. We ask for that: a compressed body has other bytes and another length.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let plain = |coding: &[u8]| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    headers.get_all(CONTENT_ENCODING).iter().all(|value| value.as_bytes().split(|byte| *byte == b',').all(plain))
}

/// Tells whether a partial answer is exactly the requested part.
pub(super) fn is_part(headers: &HeaderMap, range: &Range<u64>) -> bool {
    let part = headers.get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(parse_part);
    let fits = length(headers).is_none_or(|length| length == range.end - range.start);
    fits && part.as_ref() == Some(range)
}

/// `bytes 0-499/1234` or `bytes 0-499/*`.
fn parse_part(text: &str) -> Option<Range<u64>> {
    let (unit, text) = text.trim().split_once(' ')?;
    // Units are compared without case (RFC 9110, section 14.1).
    let (part, total) = text.trim().split_once('/').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let end = last.checked_add(1)?;
    let inside = total == "*" || total.parse::<u64>().ok()? >= end;
    (inside && first < end).then_some(first..end)
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn lengths_are_digits() {
        assert_eq!(length(&headers(&[(CONTENT_LENGTH, "12")])), Some(12));
        for bad in ["", "+1", "-1", "1.0", "99999999999999999999", "1,1"] {
            assert_eq!(length(&headers(&[(CONTENT_LENGTH, bad)])), None, "{bad}");
        }
    }

    #[test]
    fn what_is_told_is_short_text() {
        let told = |value| Told::of(&headers(&[(CONTENT_RANGE, value)]));
        assert_eq!(told(" a b ").text("Content-Range"), Some("a b"));
        assert_eq!(told("x").text("content-length"), None);
        assert_eq!(
            Told::of(&HeaderMap::from_iter([(ETAG, HeaderValue::from_bytes(b"\xff").unwrap())])).text("etag"),
            None
        );
        let long = HeaderValue::from_str(&"x".repeat(TOLD_BYTES_MAX + 1)).unwrap();
        assert_eq!(Told::of(&HeaderMap::from_iter([(ETAG, long)])).text("etag"), None);
    }

    #[test]
    fn entity_tags_are_strong_and_short() {
        assert_eq!(etag(&headers(&[(ETAG, "\"abc\"")])).as_deref(), Some("abc"));
        for bad in ["abc", "W/\"abc\"", "\"\"", "\"", "\"a\"b\""] {
            assert_eq!(etag(&headers(&[(ETAG, bad)])), None, "{bad}");
        }
    }

    #[test]
    fn parts_are_exactly_those_asked_for() {
        let is = |value, range| is_part(&headers(&[(CONTENT_RANGE, value)]), &range);
        assert!(is("bytes 2-4/10", 2..5));
        assert!(is("bytes 2-4/*", 2..5));
        assert!(is("Bytes 2-4/10", 2..5));
        for bad in ["bytes 2-5/10", "bytes 1-4/10", "bytes 2-4", "bytes 2-4/3", "2-4/10", "bytes 4-2/10", "bytes */10"]
        {
            assert!(!is(bad, 2..5), "{bad}");
        }
        assert!(!is("bytes 0-18446744073709551615/*", 0..u64::MAX));
        assert!(!is_part(&headers(&[(CONTENT_RANGE, "bytes 2-4/10"), (CONTENT_LENGTH, "4")]), &(2..5)));
        assert!(!is_part(&HeaderMap::new(), &(2..5)));
    }

    #[test]
    fn compressed_bodies_are_seen() {
        assert!(is_plain(&HeaderMap::new()));
        assert!(is_plain(&headers(&[(CONTENT_ENCODING, "Identity")])));
        assert!(is_plain(&headers(&[(CONTENT_ENCODING, "identity, IDENTITY")])));
        assert!(!is_plain(&headers(&[(CONTENT_ENCODING, "gzip")])));
        assert!(!is_plain(&headers(&[(CONTENT_ENCODING, "identity, gzip")])));
    }
}
