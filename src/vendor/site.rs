//! Sites of vendors: URLs of folders, and what lies below them. A list never leads out of its vendor's sites.

/// Longest path that a list may give.
const PATH_MAX: usize = 1024;

/// URL as the base of others, which ends in a slash; `None` for what is no URL of a folder.
pub(super) fn base(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let is_one = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', '\\', ' ', '@']);
    let slash = if rest.ends_with('/') { "" } else { "/" };
    is_one.then(|| format!("{url}{slash}"))
}

/// Tells whether a URL lies below a base. With http or https: the file is its vendor's either way.
pub(super) fn is_below(url: &str, base: &str) -> bool {
    let (Some((_, url)), Some((_, base))) = (url.split_once("://"), base.split_once("://")) else { return false };
    let (host, path) = url.split_once('/').unwrap_or((url, ""));
    let url = format!("{}/{path}", host.to_ascii_lowercase());
    url.strip_prefix(base).is_some_and(|rest| is_inside(rest.split(['?', '#']).next().unwrap_or_default()))
}

/// Tells whether a relative path stays inside: no `..`, in any spelling, and nothing that ends a path.
fn is_inside(path: &str) -> bool {
    let dots = |part: &str| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    };
    let wrong = |c: char| c.is_control() || c.is_whitespace() || "\\?#".contains(c);
    path.len() <= PATH_MAX && !path.starts_with('/') && !path.contains(wrong) && !path.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://images.example/a/";

    #[test]
    fn what_lies_below_a_base_is_told_from_what_looks_so() {
        for url in ["https://images.example/a/b", "http://images.example/a/b?c", "https://IMAGES.example/a/"] {
            assert!(is_below(url, BASE), "{url}");
        }
        let others = [
            "https://images.example/ab",
            "https://images.example.evil/a/b",
            "https://images.example/a/b/%2E./c",
            "https://images.example/a/../b",
            "b",
        ];
        for url in others {
            assert!(!is_below(url, BASE), "{url}");
        }
    }

    #[test]
    fn a_base_is_a_folder_of_http() {
        for url in [BASE, "http://127.0.0.1:80/"] {
            assert_eq!(base(url).as_deref(), Some(url));
            assert_eq!(base(url.trim_end_matches('/')).as_deref(), Some(url), "the slash may be left out");
        }
        for wrong in ["https://", "ftp://a/", "https:///a/", "https://a/?b/", "https://u:p@a/", ""] {
            assert_eq!(base(wrong), None, "{wrong}");
        }
    }
}
