//! Digests learnt from the documents that pass: what a simplestreams tree or a list of checksums says of the files beside it.
//!
//! Nothing is verified here: what is learnt is on the word of a server. Of vendors that sign, nothing is to be learnt in this way.

mod products;

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::unsigned;
use super::expectation::{Evidence, Expectation};
use super::order::natural;
use super::place::{file_name, folder, listed};
use super::signature::content;
use super::sums::{FoundSums, Sums};
use crate::image::Timestamp;

/// Most bytes of a document with products.
pub const PRODUCTS_BYTES_MAX: usize = 64 << 20;

/// Most files that are learnt of a document.
const FILES_MAX: usize = 200_000;

/// Learns the files that a document names, by URL, on the word of the server that it came from. Documents of other kinds name none.
pub fn learn(document_url: &str, came_from: &str, bytes: &[u8]) -> Vec<(String, Expectation)> {
    let mut files = Vec::new();
    walk(document_url, bytes, |url, facts| {
        let evidence = unsigned(document_url, came_from, &url, &facts.sums);
        files.push((url, expectation(facts, evidence)));
    });
    files
}

/// Finds the newest build of each product in use, by the URL of its first file, in a document with products. `is_used` tells it of the
/// name of a product and the URL of a file of any of its builds.
pub fn newest_files(
    document_url: &str,
    bytes: &[u8],
    mut is_used: impl FnMut(&str, &str) -> bool,
) -> BTreeMap<String, String> {
    let (Some(root), Ok(content)) = (root(document_url), content(bytes)) else { return BTreeMap::new() };
    let (mut newest, mut used) = (BTreeMap::<String, (String, String)>::new(), BTreeSet::new());
    let mut left = FILES_MAX;
    products::walk(&content, |file| {
        let Some(url) = listed(&root, file.path).filter(|_| left > 0) else { return };
        left -= 1;
        if !used.contains(file.product) && is_used(file.product, &url) {
            used.insert(file.product.to_owned());
        }
        match newest.get_mut(file.product) {
            Some((version, _)) if natural(file.version, version).is_le() => {}
            Some(known) => *known = (file.version.to_owned(), url),
            None => _ = newest.insert(file.product.to_owned(), (file.version.to_owned(), url)),
        }
    });
    newest.into_iter().filter(|(name, _)| used.contains(name)).map(|(name, (_, url))| (name, url)).collect()
}

/// Tells whether a document is in the place of an index of a simplestreams tree.
pub fn is_products_url(url: &str) -> bool {
    root(url).is_some()
}

/// Folder that the paths of a document with products are relative to.
fn root(document_url: &str) -> Option<String> {
    document_url.rsplit_once("/streams/v1/").map(|(root, _)| format!("{root}/"))
}

/// Finds the one file under a URL.
pub(super) fn find(document_url: &str, bytes: &[u8], url: &str) -> Option<FoundSums> {
    let mut found = None;
    walk(document_url, bytes, |listed, facts| {
        if listed == url {
            found.get_or_insert(facts);
        }
    });
    found
}

/// Time at which a document with products was made, as it says itself.
pub(super) fn updated(content: &[u8]) -> Option<Timestamp> {
    let text = products::updated(content).filter(|_| is_products(content))?;
    let at = jiff::fmt::rfc2822::parse(&text).map(|at| at.timestamp()).or_else(|_| text.parse::<jiff::Timestamp>());
    Some(Timestamp(at.ok()?.as_microsecond()))
}

/// Tells whether a document can be one with products.
pub(super) fn is_products(content: &[u8]) -> bool {
    content.trim_ascii_start().starts_with(b"{")
}

fn walk(document_url: &str, bytes: &[u8], mut each: impl FnMut(String, FoundSums)) {
    if bytes.len() > PRODUCTS_BYTES_MAX {
        return;
    }
    let Ok(content) = content(bytes) else { return };
    let mut left = FILES_MAX;
    let mut take = |base: &str, path: &str, facts: FoundSums| {
        if let Some(url) = listed(base, path).filter(|_| left > 0) {
            left -= 1;
            each(url, facts);
        }
    };
    if is_products(&content) {
        let Some(root) = root(document_url) else { return };
        products::walk(&content, |file| take(&root, file.path, file.sums));
    } else if let Ok(sums) = Sums::parse(&content, &file_name(document_url)) {
        sums.iter().for_each(|(name, facts)| take(folder(document_url), name, facts));
    }
}

/// Expectation of facts. Weak digests are left out beside strong ones: they prove nothing more, and each costs a pass over the bytes.
pub(super) fn expectation(facts: FoundSums, evidence: Evidence) -> Expectation {
    let mut sums = facts.sums;
    if sums.iter().any(|sum| !sum.algorithm().is_weak()) {
        sums.retain(|sum| !sum.algorithm().is_weak());
    }
    Expectation { size: facts.size, sums, evidence, others: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::{Level, Sum};

    const TREE: &str = "https://h/releases/streams/v1/com.ubuntu.cloud:released:download.json";

    fn hex(digit: &str) -> String {
        digit.repeat(64)
    }

    #[test]
    fn products_name_files_below_the_root_of_the_tree() {
        let document = format!(
            r#" {{"format":"products:1.0","updated":"x","_aliases":{{"src":{{"main":{{"md5":"{md5}"}}}}}},"sha256":"{a}","products":{{
            "p":{{"aliases":"24.04,noble","versions":{{"20260105":{{"items":{{
                "disk1.img":{{"ftype":"disk1.img","path":"server/releases/noble/release-20260105/u.img","size":5,"sha256":"{b}","md5":"{md5}"}},
                "squashfs":{{"path":"server/releases/noble/20260105_07:42/u.squashfs","size":"7"}},
                "aliased":{{"path":"server/w.img","src":"main","sha256":null}},
                "own":{{"md5":"{own}","path":"server/x.img","src":"main","sha256":null}},
                "outside":{{"path":"../../etc/passwd"}},
                "pathless":{{"sha256":"{b}"}},
                "wrong":{{"path":"wrong","sha256":"beef","sha512":"{a}"}}
            }}}}}}}},
            "q":{{"sha256":"{c}","versions":{{"1":{{"path":"q/inherited","items":{{"x":{{}}}}}}}}}}}}}}"#,
            a = hex("a"),
            b = hex("b"),
            c = hex("c"),
            md5 = "d".repeat(32),
            own = "e".repeat(32),
        );
        let learnt = learn(TREE, TREE, document.as_bytes());
        let is: Vec<_> =
            learnt.iter().map(|(url, e)| (url.as_str(), e.size, e.sums.clone(), e.evidence.level)).collect();
        let sum = |digit: &str| vec![Sum::of_hex(&hex(digit)).unwrap()];
        assert_eq!(
            is,
            [
                ("https://h/releases/server/releases/noble/release-20260105/u.img", Some(5), sum("b"), Level::Checksum),
                (
                    "https://h/releases/server/releases/noble/20260105_07:42/u.squashfs",
                    Some(7),
                    sum("a"),
                    Level::Checksum
                ),
                ("https://h/releases/server/w.img", None, vec![Sum::of_hex(&"d".repeat(32)).unwrap()], Level::Weak),
                ("https://h/releases/server/x.img", None, vec![Sum::of_hex(&"e".repeat(32)).unwrap()], Level::Weak),
                ("https://h/releases/q/inherited", None, sum("c"), Level::Checksum),
            ]
        );
        let words = "matches com.ubuntu.cloud:released:download.json of the same host, over https";
        assert_eq!(learnt[0].1.evidence.words, words);
        assert_eq!(
            learn("https://h/elsewhere.json", "https://h/elsewhere.json", document.as_bytes()),
            [],
            "it is in no tree"
        );
        let signed = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{document}\n-----BEGIN PGP SIGNATURE-----\n\nAA\n-----END PGP SIGNATURE-----\n"
        );
        let sjson = "https://h/releases/streams/v1/com.ubuntu.cloud:released:download.sjson";
        assert_eq!(learn(sjson, sjson, signed.as_bytes()).len(), 5);
        let words = &learn(TREE, "http://mirror/x.json", document.as_bytes())[0].1.evidence.words;
        assert!(words.contains(" of mirror, over http: "), "{words}");
        assert_eq!(find(TREE, document.as_bytes(), "https://h/releases/q/inherited").unwrap().sums, sum("c"));
    }

    #[test]
    fn the_newest_build_of_a_product_counts_if_any_of_its_builds_is_used() {
        let build = |serial: &str, path: &str| {
            format!(
                r#""{serial}":{{"items":{{"a":{{"path":"{path}","sha256":"{a}"}},"b":{{"path":"{path}.b","sha256":"{a}"}}}}}}"#,
                a = hex("a")
            )
        };
        let product = |name: &str, serials: &[&str]| {
            let builds: Vec<_> = serials.iter().map(|serial| build(serial, &format!("{name}/{serial}.img"))).collect();
            format!(r#""{name}":{{"versions":{{{}}}}}"#, builds.join(","))
        };
        let products = [product("p", &["9", "10", "8"]), product("q", &["1"]), product("r", &["1", "2"])].join(",");
        let document = format!(r#"{{"products":{{{products}}}}}"#);
        let newest = newest_files(TREE, document.as_bytes(), |name, url| name == "r" || url.ends_with("/p/8.img.b"));
        let is: Vec<_> = newest.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
        assert_eq!(is, [("p", "https://h/releases/p/10.img"), ("r", "https://h/releases/r/2.img")]);
        assert!(
            newest_files("https://h/products.json", document.as_bytes(), |_, _| true).is_empty(),
            "it is in no tree"
        );
        assert!(newest_files(TREE, b"{", |_, _| true).is_empty());
    }

    #[test]
    fn lists_name_files_below_their_folder_and_other_documents_none() {
        let list = format!("{}  a.img\n{}  ./sub/b c.img\n{}  ../up.img\n", hex("a"), hex("b"), hex("c"));
        let urls: Vec<_> =
            learn("http://h/d/SHA256SUMS", "http://h/d/SHA256SUMS", list.as_bytes()).into_iter().collect();
        assert_eq!(urls.len(), 2);
        assert_eq!((urls[0].0.as_str(), urls[1].0.as_str()), ("http://h/d/a.img", "http://h/d/sub/b%20c.img"));
        assert_eq!(
            urls[0].1.evidence.words,
            "matches SHA256SUMS of the same host, over http: it can have been changed on the way"
        );
        for nothing in [
            "",
            "{",
            "{}",
            "[]",
            r#"{"products":[]}"#,
            r#"{"products":{"p":{"versions":{"v":{"items":4}}}}}"#,
            "<html>",
        ] {
            assert_eq!(learn(TREE, TREE, nothing.as_bytes()), [], "{nothing}");
        }
        let deep = format!("{}1{}", r#"{"products":"#.repeat(500), "}".repeat(500));
        assert_eq!(learn(TREE, TREE, deep.as_bytes()), []);
    }
}
