//! Characters that stand in a URL as they are (RFC 3986, section 2.3). Knows nothing of what the URLs are of.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters that are escaped in a segment of a path, and in a value of a query: all but the unreserved ones.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Characters that are escaped in a whole path: its slashes stay.
pub const RESERVED_IN_PATHS: &AsciiSet = &RESERVED.remove(b'/');

/// Escapes a segment of a path, or a value of a query.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_unreserved_characters_are_escaped() {
        assert_eq!(escaped("aZ09-._~ /?#%+:@ä"), "aZ09-._~%20%2F%3F%23%25%2B%3A%40%C3%A4");
        assert_eq!(escaped("a/b c&ü~"), "a%2Fb%20c%26%C3%BC~");
        assert_eq!(utf8_percent_encode("/a b/c~", RESERVED_IN_PATHS).to_string(), "/a%20b/c~");
    }
}
