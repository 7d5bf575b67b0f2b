//! URLs of vendors' files and documents, as texts: where a document beside a file lies, what a list means by a path.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

/// Characters of a listed path that can't stand in a URL; clients append all others as they are, and so do we.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A URL without its query and fragment.
fn bare(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Folder that a URL lies in, with its last slash.
pub(super) fn folder(url: &str) -> &str {
    let bare = bare(url);
    &bare[..bare.rfind('/').map_or(0, |at| at + 1)]
}

/// Last part of a URL's path, as it stands in the URL.
pub(super) fn last_part(url: &str) -> &str {
    &bare(url)[folder(url).len()..]
}

/// Name of the file under a URL: the last part without escapes.
pub(super) fn file_name(url: &str) -> String {
    decoded(last_part(url))
}

/// Path of a file below a folder, without escapes; `None` when it lies elsewhere.
pub(super) fn below(folder: &str, url: &str) -> Option<String> {
    bare(url).strip_prefix(folder).map(decoded)
}

/// URL of a path that a list gives, below a folder; `None` for one that leads out of it.
pub(super) fn listed(folder: &str, path: &str) -> Option<String> {
    let path = path.strip_prefix("./").unwrap_or(path);
    let inside = !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    inside.then(|| format!("{folder}{}", utf8_percent_encode(path, NOT_IN_PATHS)))
}

/// Scheme and host of a URL, with its port.
pub(super) fn origin(url: &str) -> (&str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    (scheme, rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// URL of a path from the root of the host that another URL is on.
pub(super) fn at_root(url: &str, path: &str) -> String {
    let (scheme, host) = origin(url);
    format!("{scheme}://{host}{path}")
}

fn decoded(part: &str) -> String {
    percent_decode_str(part).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        let url = "https://h:8/a/b%20c/x%2By.img?q=/1#/f";
        assert_eq!(
            (folder(url), last_part(url), file_name(url).as_str()),
            ("https://h:8/a/b%20c/", "x%2By.img", "x+y.img")
        );
        assert_eq!((origin(url), at_root(url, "/x").as_str()), (("https", "h:8"), "https://h:8/x"));
        assert_eq!(below("https://h:8/a/", url).as_deref(), Some("b c/x+y.img"));
        assert_eq!(below("https://h:8/b/", url), None);
        let at = |path| listed("https://h/r/", path);
        assert_eq!(at("./a/20260105_07:42/x y+z%.img").as_deref(), Some("https://h/r/a/20260105_07:42/x%20y+z%25.img"));
        for outside in ["", "/etc/x", "../x", "a/../../x", "a//b", "./", ".", "a/."] {
            assert_eq!(at(outside), None, "{outside}");
        }
    }
}
