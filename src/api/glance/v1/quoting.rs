//! Percent-encoding in metadata headers. Clients until 2018 send plain UTF-8; python-glanceclient has quoted every name and
//! value since then, and no header says so. Glance stored the quoted text, so an image was called `my%20image` in every other
//! protocol, and was not found by its name.
//!
//! A text that can only be quoted is unquoted here. Answers are never quoted: no client unquotes them. Knows texts only, no
//! header and no attribute.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Tells whether a text can be the result of Python's `quote`: outside its escapes, it has no character that `quote` escapes.
fn is_quoted(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = match (first, behind) {
            (b'%', [high, low, behind @ ..]) if is_digit(*high) && is_digit(*low) => behind,
            (b'_' | b'.' | b'-' | b'~' | b'/' | b':', _) => behind,
            (first, _) if first.is_ascii_alphanumeric() => behind,
            _ => return false,
        }
    }
    true
}

/// Tells whether a byte is a hexadecimal digit in upper case, as `quote` writes it.
fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'F')
}

/// Tells whether all values look quoted: a client quotes every value or none.
pub(super) fn all_quoted<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    values.all(is_quoted)
}

/// Unquotes a text, unless the result is not UTF-8.
pub(super) fn unquoted(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Cow::into_owned)
}

/// Unquotes a URL. A URL has escapes of its own, so only the unlikely ones count: of `%` itself, and of the `?` before the
/// query.
pub(super) fn url(text: &str) -> String {
    let twice = text.contains("%25") || text.contains("%3F");
    if twice && is_quoted(text) { unquoted(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_quotes_is_told_from_what_it_would_quote() {
        for (text, quoted) in [
            ("my%20image", true),
            ("F%C3%BCnf", true),
            ("a:b/c_d.e-f~", true),
            ("", true),
            ("my image", false),
            ("50%", false),
            ("100%2", false),
            ("%zz", false),
            ("%c3", false),
            ("a=b", false),
            ("Fünf", false),
        ] {
            assert_eq!(is_quoted(text), quoted, "{text}");
        }
        assert_eq!(unquoted("F%C3%BCnf%20%2525"), "Fünf %25");
        assert_eq!(unquoted("%FF"), "%FF");
    }

    #[test]
    fn urls_keep_their_own_escapes() {
        for (sent, meant) in [
            ("http://h/a%2520b", "http://h/a%20b"),
            ("https://h:8080/a%3Fsig%3Dx%252B%26y", "https://h:8080/a?sig=x%2B&y"),
            ("http://h/a%20b", "http://h/a%20b"),
            ("http://h/a%2Fb?x=%25", "http://h/a%2Fb?x=%25"),
        ] {
            assert_eq!(url(sent), meant);
        }
    }
}
