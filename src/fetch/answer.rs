//! Reading what another server says about its bytes. Pure: headers in, facts out.

use std::ops::Range;
use std::time::Duration;

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, RETRY_AFTER, TRANSFER_ENCODING,
};
use reqwest::{StatusCode, Url};

use super::error::{FetchError, redacted};

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

    /// All headers.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.0
    }

    /// A header's value, if there is one that is text and not absurdly long. Case does not matter.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok().map(str::trim).filter(|text| text.len() <= TOLD_BYTES_MAX)
    }

    /// The entity tag as its header has it: in quotes, behind `W/` if it is weak.
    pub fn etag(&self) -> Option<&str> {
        let text = self.text(ETAG.as_str())?;
        tag_in(text.strip_prefix("W/").unwrap_or(text)).map(|_| text)
    }

    /// The pause that the server asks for.
    pub fn pause(&self) -> Option<Duration> {
        retry_after(&self.0)
    }

    /// The announced length, of an answer to `HEAD` too.
    pub fn length(&self) -> Option<u64> {
        length(&self.0)
    }

    /// The part that the body is, or the length that a 416 tells.
    pub fn content_range(&self) -> Option<ContentRange> {
        ContentRange::parse(self.text(CONTENT_RANGE.as_str())?)
    }
}

/// A `Content-Range` in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentRange {
    /// The part (the end is exclusive), of which at least one byte; `None` beside a 416.
    pub part: Option<Range<u64>>,
    /// Length of the whole, if it is known; never less than the end of the part.
    pub total: Option<u64>,
}

impl ContentRange {
    /// `bytes 0-499/1234`, `bytes 0-499/*` or `bytes */1234`.
    fn parse(text: &str) -> Option<Self> {
        let (unit, text) = text.trim().split_once(' ')?;
        // Units are compared without case (RFC 9110, section 14.1).
        let (part, total) = text.trim().split_once('/').filter(|_| unit.eq_ignore_ascii_case("bytes"))?;
        if part == "*" {
            return Some(Self { part: None, total: Some(number(total)?) });
        }
        let (first, last) = part.split_once('-')?;
        let (first, end) = (number(first)?, number(last)?.checked_add(1)?);
        let total = if total == "*" { None } else { Some(number(total)?) };
        let inside = total.is_none_or(|total| total >= end);
        (inside && first < end).then_some(Self { part: Some(first..end), total })
    }
}

/// A number in digits. `parse` alone would take a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The announced length. For an answer to `HEAD` too, which has no body to measure.
pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    number(headers.get(CONTENT_LENGTH)?.to_str().ok()?)
}

/// An entity tag out of its quotes.
fn tag_in(quoted: &str) -> Option<&str> {
    let tag = quoted.strip_prefix('"')?.strip_suffix('"')?;
    (!tag.is_empty() && tag.len() <= ETAG_BYTES_MAX && !tag.contains('"')).then_some(tag)
}

/// The entity tag without its quotes. A weak one is none: it does not stand for the very bytes.
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    tag_in(headers.get(ETAG)?.to_str().ok()?).map(str::to_owned)
}

/// Tells whether the body is not compressed. We ask for that: a compressed body has other bytes and another length.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    let plain = |coding: &[u8]| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    let all = |name, plain: &dyn Fn(&[u8]) -> bool| {
        headers.get_all(name).iter().all(|value| value.as_bytes().split(|byte| *byte == b',').all(plain))
    };
    let whole = |coding: &[u8]| plain(coding) || coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    all(CONTENT_ENCODING, &plain) && all(TRANSFER_ENCODING, &whole)
}

/// Tells whether a partial answer is exactly the requested part.
pub(super) fn is_part(headers: &HeaderMap, range: &Range<u64>) -> bool {
    part(headers).is_some_and(|(part, _)| part == *range)
}

/// The part that a partial answer has, and the length of the whole, if it says so.
pub(super) fn part(headers: &HeaderMap) -> Option<(Range<u64>, Option<u64>)> {
    let ContentRange { part, total } = ContentRange::parse(headers.get(CONTENT_RANGE)?.to_str().ok()?)?;
    let part = part.filter(|part| length(headers).is_none_or(|length| length == part.end - part.start))?;
    Some((part, total))
}

/// The pause that a server asks for. A date is measured against the server's own clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| httpdate::parse_http_date(text).ok();
    date(text)?.duration_since(date(headers.get(DATE)?.to_str().ok()?)?).ok()
}

/// The failure of an answer that another request may not get; `None` for one that is final.
pub(super) fn passing(at: &Url, status: u16, headers: &HeaderMap) -> Option<FetchError> {
    Some(trouble(at, status, headers)).filter(FetchError::may_pass)
}

/// The error for a status that is no success.
pub(super) fn trouble(at: &Url, status: u16, headers: &HeaderMap) -> FetchError {
    FetchError::Status { code: status, text: redacted(at), pause: retry_after(headers) }
}

/// The error for an answer without the bytes that were asked for.
pub(super) fn refused(at: &Url, status: StatusCode, headers: &HeaderMap) -> FetchError {
    match status {
        StatusCode::RANGE_NOT_SATISFIABLE => FetchError::BadRange,
        StatusCode::NOT_FOUND | StatusCode::GONE => FetchError::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FetchError::NotFound,
        _ => trouble(at, status.as_u16(), headers),
    }
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
    fn bytes_are_plain_without_any_coding() {
        let of = |name: HeaderName, value| is_plain(&headers(&[(name, value)]));
        for (value, coding, transfer) in
            [("", true, true), ("identity", true, true), ("chunked", false, true), ("gzip", false, false)]
        {
            let is = (of(CONTENT_ENCODING, value), of(TRANSFER_ENCODING, value));
            assert_eq!(is, (coding, transfer), "{value}");
        }
        assert!(!of(TRANSFER_ENCODING, "gzip, chunked"));
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
    fn entity_tags_are_told_as_they_came() {
        let told = |tag| Told::of(&headers(&[(ETAG, tag)]));
        for tag in ["\"abc\"", "W/\"abc\""] {
            assert_eq!(told(tag).etag(), Some(tag));
        }
        for bad in ["abc", "w/\"abc\"", "W/abc", "W/W/\"abc\"", "\"\"", "W/\"", "\"a\"b\"", "\"a\", \"b\""] {
            assert_eq!(told(bad).etag(), None, "{bad}");
        }
        assert_eq!(Told::default().etag(), None);
    }

    #[test]
    fn content_ranges_are_told_with_and_without_a_part() {
        let told = |value| Told::of(&headers(&[(CONTENT_RANGE, value), (CONTENT_LENGTH, "3")]));
        for (value, part, total) in [
            ("bytes 2-4/10", Some(2..5), Some(10)),
            ("bytes 0-0/*", Some(0..1), None),
            ("BYTES */10", None, Some(10)),
            ("bytes */0", None, Some(0)),
        ] {
            assert_eq!(told(value).content_range(), Some(ContentRange { part, total }), "{value}");
        }
        for bad in
            ["bytes */*", "bytes +2-4/10", "bytes 2-4/+10", "bytes 2-/10", "bytes -4/10", "bytes 4-2/10", "x */1"]
        {
            assert_eq!(told(bad).content_range(), None, "{bad}");
        }
        assert_eq!((told("").length(), told("").content_range()), (Some(3), None));
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
        assert_eq!(part(&headers(&[(CONTENT_RANGE, "bytes 2-4/10")])), Some((2..5, Some(10))));
        assert!(!is_part(&headers(&[(CONTENT_RANGE, "bytes 2-4/10"), (CONTENT_LENGTH, "4")]), &(2..5)));
        assert!(!is_part(&HeaderMap::new(), &(2..5)));
    }

    #[test]
    fn pauses_are_seconds_or_a_date_of_the_servers() {
        let date = (DATE, "Sun, 06 Nov 1994 08:49:37 GMT");
        let after = |value| retry_after(&headers(&[date.clone(), (RETRY_AFTER, value)]));
        for (value, seconds) in [("0", 0), (" 120 ", 120), ("Sun, 06 Nov 1994 08:50:07 GMT", 30)] {
            assert_eq!(after(value), Some(Duration::from_secs(seconds)), "{value}");
        }
        for bad in ["", "-1", "1.5", "soon", "Sun, 06 Nov 1994 08:49:07 GMT", "99999999999999999999"] {
            assert_eq!(after(bad), None, "{bad}");
        }
        assert_eq!(retry_after(&headers(&[(RETRY_AFTER, "Sun, 06 Nov 1994 08:50:07 GMT")])), None);
    }

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let url = Url::parse("https://h.example/x").unwrap();
        let error = |status| refused(&url, StatusCode::from_u16(status).unwrap(), &headers(&[(RETRY_AFTER, "7")]));
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(error(status).may_pass() && error(status).asks_for() == Some(Duration::from_secs(7)), "{status}");
        }
        for status in [204, 206, 300, 400, 401, 403, 404, 409, 410, 416, 418, 501, 505] {
            assert!(!error(status).may_pass(), "{status}");
        }
        assert!(matches!((error(403), error(416)), (FetchError::NotFound, FetchError::BadRange)));
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
