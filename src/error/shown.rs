//! URLs in words and logs.

/// Most characters that are shown. A name of an image with all its parts has fewer.
const CHARS_MAX: usize = 400;

/// A URL or a name for words and logs, whatever it is: without what may be a secret in it, its query and its user with the password.
pub fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let shown = match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let from = rest[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[from..])
        }
        None => url.to_owned(),
    };
    shown.chars().take(CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        for (url, expected) in [
            ("https://h.example/x?sig=SECRET", "https://h.example/x"),
            ("https://user:password@h.example/a@b", "https://h.example/a@b"),
            ("ftp://user:p@ss@h.example", "ftp://h.example"),
            ("debian/13@sha256:ab", "debian/13@sha256:ab"),
        ] {
            assert_eq!(shown(url), expected);
        }
        assert_eq!(shown(&"x".repeat(1000)).len(), CHARS_MAX);
    }
}
