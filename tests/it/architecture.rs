//! The source against the tables of ARCHITECTURE.md: document and code can't drift apart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The rows of the table of ARCHITECTURE.md that begins with this head.
fn table(head: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.split_once(head).unwrap_or_else(|| panic!("no table {head}")).1;
    rows.lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            (cells[0].to_owned(), cells[1].split_whitespace().map(ToOwned::to_owned).collect())
        })
        .collect()
}

/// Every source file: its path below `src` (or `migrations/…`), and its text without tests and comments.
fn sources() -> Vec<(String, String)> {
    fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, into) } else { into.push(path) }
        }
    }
    let mut paths = Vec::new();
    walk(&root().join("src"), &mut paths);
    walk(&root().join("migrations"), &mut paths);
    let is_test = |name: &str| name.ends_with("tests.rs") || name.ends_with("suite.rs") || name.ends_with("fake.rs");
    paths
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "rs") && !is_test(&path.to_string_lossy()))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let code = code.split("#[cfg(test)]\npub(crate) mod tests {").next().unwrap();
            let code: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            let name = path.strip_prefix(root().join("src")).or_else(|_| path.strip_prefix(root())).unwrap();
            (name.to_string_lossy().into_owned(), code.join("\n"))
        })
        .collect()
}

fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap()
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let allowed = table("| room | may use |");
    let mut rooms = BTreeSet::new();
    for (file, code) in sources() {
        let here = room(&file);
        if matches!(here, "lib" | "main") {
            continue;
        }
        rooms.insert(here.to_owned());
        let row = allowed.get(here).unwrap_or_else(|| panic!("{here} stands not in the table"));
        for (at, _) in code.match_indices("crate::") {
            let used = code[at + 7..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            assert!(used == here || row.contains(used), "{file} uses {used}, which the table does not allow");
        }
    }
    let listed: BTreeSet<String> = allowed.into_keys().collect();
    assert_eq!(listed, rooms, "the table and the source have the same rooms");
}

#[test]
fn words_stand_only_where_the_table_allows() {
    for (word, places) in table("| word | may stand only in |") {
        let mut found = BTreeSet::new();
        for (file, code) in sources() {
            // `engine::sled::…` is a module of ours, `sled::…` the crate.
            let named = |at: usize| !code[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_ascii_alphanumeric());
            if code.match_indices(&word).any(|(at, _)| named(at)) {
                let place = places.iter().find(|place| file == **place || room(&file) == place.as_str());
                found.insert(place.unwrap_or_else(|| panic!("{file} names {word}")).clone());
            }
        }
        assert_eq!(found, places, "where {word} stands and where the table says");
    }
}

/// A file that outgrows this has two subjects.
#[test]
fn files_stay_readable() {
    for (file, code) in sources() {
        let lines = code.lines().count();
        assert!(lines <= 400, "{file} has {lines} lines without tests and comments");
    }
}
