//! Listings of folders: the pages that Apache and nginx make, and openSUSE's table in JSON. Only names in the folder itself are read.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use regex::bytes::Regex;
use serde::Deserialize;

/// Most names of a listing.
const NAMES_MAX: usize = 20_000;

/// The target of a link, quoted either way or not at all.
static LINK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"(?i-u)<a\s(?:[^>]*?\s)?href\s*=\s*(?:"([^"<>]*)"|'([^'<>]*)'|([^\s"'<>]+))"#).ok());

/// openSUSE's table.
#[derive(Deserialize)]
struct JsonTable {
    data: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: String,
}

/// Names of the files and folders in a listing, which came from this folder. What a link leads to elsewhere is not among them.
pub(super) fn names(page: &[u8], folder: &str) -> Vec<String> {
    if page.trim_ascii_start().starts_with(b"{") {
        let table: Option<JsonTable> = serde_json::from_slice(page).ok();
        let names = table.into_iter().flat_map(|table| table.data).filter_map(|row| name(&row.name));
        return names.take(NAMES_MAX).collect();
    }
    let Some(link) = LINK.as_ref() else { return Vec::new() };
    let targets = link.captures_iter(page).filter_map(|found| {
        let target = found.iter().skip(1).flatten().next()?;
        std::str::from_utf8(target.as_bytes()).ok()
    });
    let names = targets.filter_map(|target| {
        let decoded = percent_decode_str(within(target, folder)?).decode_utf8().ok()?.replace("&amp;", "&");
        name(&decoded)
    });
    names.take(NAMES_MAX).collect()
}

/// The target of a link below the folder.
fn within<'a>(target: &'a str, folder: &str) -> Option<&'a str> {
    let path = folder.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or("/");
    if target.contains("://") {
        return target.strip_prefix(folder);
    }
    if target.starts_with('/') { target.strip_prefix(path) } else { Some(target.strip_prefix("./").unwrap_or(target)) }
}

/// A name, without the slash of a folder.
fn name(text: &str) -> Option<String> {
    let plain = text.strip_suffix('/').unwrap_or(text);
    let wrong = |c: char| c.is_control() || "/\\?#".contains(c);
    (!plain.is_empty() && !plain.contains(wrong) && plain != "." && plain != "..").then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "https://images.example/pub/x/";

    #[test]
    fn pages_of_apache_and_nginx_are_read() {
        let apache = br#"<html><head><title>Index of /pub/x</title></head><body><table>
<tr><th><a href="?C=N;O=D">Name</a></th></tr><tr><td><a href="/pub/">Parent Directory</a></td></tr>
<tr><td valign="top"><img src="/icons/folder.gif" alt="[DIR]"></td><td><a href="10.1/">10.1/</a></td></tr>
<tr><td><a class=x HREF='a%2Db%20c.img'>a-b c</a></td></tr></table></body></html>"#;
        assert_eq!(names(apache, FOLDER), ["10.1", "a-b c.img"]);
        let nginx = br#"<html><body><h1>Index of /pub/x/</h1><hr><pre><a href="../">../</a>
<a href="v20260101.1/">v20260101.1/</a>       01-Jan-2026 00:00      -
<a href=b.qcow2>b.qcow2</a>      01-Jan-2026 00:00      512
</pre><hr></body></html>"#;
        assert_eq!(names(nginx, FOLDER), ["v20260101.1", "b.qcow2"]);
    }

    #[test]
    fn only_names_in_the_folder_count() {
        let page = br##"<a href="https://images.example/pub/x/a">1</a><a href="/pub/x/b">2</a><a href="./c">3</a>
<a href="https://evil.example/pub/x/d">4</a><a href="//evil.example/e">5</a><a href="/pub/f">6</a><a href="g/h">7</a>
<a href="..%2F..%2Fi">8</a><a href="%2e%2e/">9</a><a href="../j">10</a><a href="#k">11</a><a name="l">12</a>"##;
        assert_eq!(names(page, FOLDER), ["a", "b", "c"]);
    }

    #[test]
    fn a_table_in_json_is_read() {
        let table = br#"{"data":[{"name":"a.qcow2","size":1,"mtime":2},{"name":"sub/"},{"name":"../b"},{"name":""}]}"#;
        assert_eq!(names(table, FOLDER), ["a.qcow2", "sub"]);
        assert!(names(b"{\"data\":3}", FOLDER).is_empty() && names(b"\xff\xfe", FOLDER).is_empty());
    }
}
