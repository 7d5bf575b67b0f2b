//! Conditional requests and ranges (RFC 9110, sections 13 and 14), as pure functions of headers and facts. They know no
//! image.

use std::ops::Range;

use actix_web::http::header::{
    self, HeaderMap, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
};

use super::headers::{behind, text};
use super::time::read_http_date;

/// Facts of the requested thing.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its entity tag with quotes, if it has one; a weak one with `W/`.
    pub etag: Option<String>,
    /// Time of the last change, in whole seconds since 1970.
    pub modified_s: Option<i64>,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
}

/// Decision about a GET or HEAD.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send everything.
    Whole,
    /// Send this part.
    Part(Range<u64>),
    /// Send these parts, two or more of them.
    Parts(Vec<Range<u64>>),
    /// The client has the current version: 304.
    NotModified,
    /// The client's condition fails: 412.
    Failed,
    /// The range lies beyond the end: 416.
    OutOfRange,
}

/// Maximum number of parts in one answer.
const PARTS_MAX: usize = 32;

/// Tells whether a list of entity tags has this one. `weakly` ignores `W/` (for `If-None-Match`); without it a weak tag equals none
/// (RFC 9110, section 8.8.3.2).
fn lists(header: &str, etag: Option<&str>, weakly: bool) -> bool {
    let Some(etag) = etag else { return false };
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let is_same = |tag: &str| match weakly {
        true => opaque(tag) == opaque(etag),
        false => tag == etag && !etag.starts_with("W/"),
    };
    header.trim() == "*" || header.split(',').map(str::trim).any(is_same)
}

/// Decides, in the order of RFC 9110, section 13.2.2.
pub fn judge(headers: &HeaderMap, facts: &Facts) -> Verdict {
    let etag = facts.etag.as_deref();
    if let Some(tags) = text(headers, IF_MATCH) {
        if !lists(tags, etag, false) {
            return Verdict::Failed;
        }
    } else if let (Some(date), Some(modified)) =
        (text(headers, IF_UNMODIFIED_SINCE).and_then(read_http_date), facts.modified_s)
        && modified > date
    {
        return Verdict::Failed;
    }
    if let Some(tags) = text(headers, IF_NONE_MATCH) {
        if lists(tags, etag, true) {
            return Verdict::NotModified;
        }
    } else if let (Some(date), Some(modified)) =
        (text(headers, IF_MODIFIED_SINCE).and_then(read_http_date), facts.modified_s)
        && modified <= date
    {
        return Verdict::NotModified;
    }
    match (text(headers, RANGE), facts.size) {
        (Some(range), Some(size)) if range_applies(headers, facts) => parts(range, size),
        _ => Verdict::Whole,
    }
}

/// Evaluates `If-Range`: a part only helps a client that has the other parts of identical bytes.
fn range_applies(headers: &HeaderMap, facts: &Facts) -> bool {
    match headers.get(header::IF_RANGE).map(|_| text(headers, IF_RANGE)) {
        None => true,
        Some(Some(tag)) if tag.starts_with('"') => facts.etag.as_deref() == Some(tag),
        Some(Some(date)) => read_http_date(date).is_some_and(|date| facts.modified_s == Some(date)),
        Some(None) => false,
    }
}

/// Reads ranges of bytes. A malformed header is ignored as a whole, as the RFC allows: the client gets everything. Too
/// many parts, and parts that together exceed the whole, are ignored too (RFC 9110, section 14.2: they cost the server
/// more than they spare the client).
fn parts(range: &str, size: u64) -> Verdict {
    let Some(specs) = behind(range, "bytes", '=') else { return Verdict::Whole };
    let specs: Vec<&str> = specs.split(',').map(str::trim).filter(|spec| !spec.is_empty()).collect();
    if specs.is_empty() || specs.len() > PARTS_MAX {
        return Verdict::Whole;
    }
    let mut found = Vec::new();
    for spec in specs {
        match part(spec, size) {
            Verdict::Part(range) => found.push(range),
            // A range beyond the end is left out, if another one is valid.
            Verdict::OutOfRange => {}
            _ => return Verdict::Whole,
        }
    }
    let together = found.iter().fold(0u64, |sum, range| sum.saturating_add(range.end - range.start));
    match found.len() {
        0 => Verdict::OutOfRange,
        1 => Verdict::Part(found.remove(0)),
        _ if together > size => Verdict::Whole,
        _ => Verdict::Parts(found),
    }
}

/// Reads one range of bytes; `Whole` when it is malformed.
fn part(spec: &str, size: u64) -> Verdict {
    let Some((first, last)) = spec.split_once('-').map(|(a, b)| (a.trim(), b.trim())) else { return Verdict::Whole };
    let number = |text: &str| {
        // A number with more digits than a u64 holds lies beyond every end.
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, number(first), number(last)) {
        ("", _, Some(0)) => Verdict::OutOfRange,
        ("", _, Some(_)) if size == 0 => Verdict::OutOfRange,
        ("", _, Some(suffix)) => Verdict::Part(size.saturating_sub(suffix)..size),
        (_, Some(first), _) if first >= size => Verdict::OutOfRange,
        (_, Some(first), None) if last.is_empty() => Verdict::Part(first..size),
        (_, Some(first), Some(last)) if first <= last => Verdict::Part(first..last.saturating_add(1).min(size)),
        _ => Verdict::Whole,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderName;

    use super::*;

    const DATE: &str = "Fri, 15 Jun 2012 20:05:20 GMT";
    const DATE_S: i64 = 1_339_790_720;

    fn judged(pairs: &[(HeaderName, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.clone(), value.parse().unwrap());
        }
        judge(&headers, &Facts { etag: Some("\"a\"".into()), modified_s: Some(DATE_S), size: Some(100) })
    }

    #[test]
    fn ranges() {
        for (range, expected) in [
            ("bytes=0-9", Verdict::Part(0..10)),
            ("bytes=0-0", Verdict::Part(0..1)),
            ("Bytes=0-0", Verdict::Part(0..1)),
            ("BYTES=-10", Verdict::Part(90..100)),
            ("bites=0-0", Verdict::Whole),
            ("bytes=90-", Verdict::Part(90..100)),
            ("bytes=90-1000", Verdict::Part(90..100)),
            ("bytes=-10", Verdict::Part(90..100)),
            ("bytes=-1000", Verdict::Part(0..100)),
            ("bytes=0-99999999999999999999999", Verdict::Part(0..100)),
            ("bytes=100-", Verdict::OutOfRange),
            ("bytes=99999999999999999999999-", Verdict::OutOfRange),
            ("bytes=-0", Verdict::OutOfRange),
            ("bytes=9-1", Verdict::Whole),
            ("bytes=", Verdict::Whole),
            ("bytes=-", Verdict::Whole),
            ("bytes=a-b", Verdict::Whole),
            ("bytes=+1-2", Verdict::Whole),
            ("bytes=0-1,3-4", Verdict::Parts(vec![0..2, 3..5])),
            ("bytes=-1, ,0-0", Verdict::Parts(vec![99..100, 0..1])),
            ("bytes=0-1,100-", Verdict::Part(0..2)),
            ("bytes=200-,100-", Verdict::OutOfRange),
            ("bytes=0-1,x", Verdict::Whole),
            ("bytes=0-98,1-", Verdict::Whole),
            ("bytes=,", Verdict::Whole),
            ("lines=0-1", Verdict::Whole),
        ] {
            assert_eq!(judged(&[(RANGE, range)]), expected, "{range}");
        }
    }

    #[test]
    fn an_empty_image_has_no_part() {
        assert_eq!(parts("bytes=0-", 0), Verdict::OutOfRange);
        assert_eq!(parts("bytes=-1", 0), Verdict::OutOfRange);
    }

    #[test]
    fn parts_are_bounded() {
        let many = |count: usize| (0..count).map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
        assert!(matches!(parts(&format!("bytes={}", many(PARTS_MAX)), 100), Verdict::Parts(p) if p.len() == PARTS_MAX));
        assert_eq!(parts(&format!("bytes={}", many(PARTS_MAX + 1)), 100), Verdict::Whole);
    }

    #[test]
    fn conditions() {
        let later = "Sat, 16 Jun 2012 20:05:20 GMT";
        let earlier = "Thu, 14 Jun 2012 20:05:20 GMT";
        for (name, value, expected) in [
            (IF_MATCH, "\"a\"", Verdict::Whole),
            (IF_MATCH, "\"b\", \"a\"", Verdict::Whole),
            (IF_MATCH, "*", Verdict::Whole),
            (IF_MATCH, "W/\"a\"", Verdict::Failed),
            (IF_MATCH, "\"b\"", Verdict::Failed),
            (IF_NONE_MATCH, "\"a\"", Verdict::NotModified),
            (IF_NONE_MATCH, "W/\"a\"", Verdict::NotModified),
            (IF_NONE_MATCH, "*", Verdict::NotModified),
            (IF_NONE_MATCH, "\"b\"", Verdict::Whole),
            (IF_MODIFIED_SINCE, DATE, Verdict::NotModified),
            (IF_MODIFIED_SINCE, later, Verdict::NotModified),
            (IF_MODIFIED_SINCE, earlier, Verdict::Whole),
            (IF_MODIFIED_SINCE, "yesterday", Verdict::Whole),
            (IF_UNMODIFIED_SINCE, DATE, Verdict::Whole),
            (IF_UNMODIFIED_SINCE, earlier, Verdict::Failed),
        ] {
            assert_eq!(judged(&[(name.clone(), value)]), expected, "{name}: {value}");
        }
        assert_eq!(judged(&[(IF_NONE_MATCH, "\"b\""), (IF_MODIFIED_SINCE, DATE)]), Verdict::Whole);
    }

    #[test]
    fn a_weak_tag_tells_no_parts_together() {
        let judged = |name: HeaderName, tag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, tag.parse().unwrap());
            headers.insert(RANGE, "bytes=5-".parse().unwrap());
            judge(&headers, &Facts { etag: Some("W/\"a\"".into()), modified_s: None, size: Some(100) })
        };
        for (name, tag, expected) in [
            (IF_NONE_MATCH, "W/\"a\"", Verdict::NotModified),
            (IF_NONE_MATCH, "\"a\"", Verdict::NotModified),
            (IF_NONE_MATCH, "W/\"b\"", Verdict::Part(5..100)),
            (IF_MATCH, "W/\"a\"", Verdict::Failed),
            (IF_MATCH, "\"a\"", Verdict::Failed),
            (IF_RANGE, "W/\"a\"", Verdict::Whole),
            (IF_RANGE, "\"a\"", Verdict::Whole),
        ] {
            assert_eq!(judged(name.clone(), tag), expected, "{name}: {tag}");
        }
    }

    #[test]
    fn a_part_only_of_the_same_bytes() {
        for (tag, expected) in [
            ("\"a\"", Verdict::Part(5..100)),
            (DATE, Verdict::Part(5..100)),
            ("\"b\"", Verdict::Whole),
            ("W/\"a\"", Verdict::Whole),
            ("Thu, 14 Jun 2012 20:05:20 GMT", Verdict::Whole),
        ] {
            assert_eq!(judged(&[(RANGE, "bytes=5-"), (IF_RANGE, tag)]), expected, "{tag}");
        }
    }
}
