//! The source against the tables of ARCHITECTURE.md and the rules of CONTRIBUTING.md: pages and code can't drift apart.
//!
//! Reads text, and knows no types: a path is followed as far as its words tell. What a value is asked by a method is not seen.

mod graph;
mod language;
mod measure;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use self::graph::Graph;
use self::source::Source;

/// Breaches that are known, by rule. A test fails for one that is not here, and for an entry that no longer happens.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    ("no circle of files", &[]),
    ("no protocol imports another", &[]),
    ("the command line uses the protocols by their face", &[]),
    ("protocols use no store and no catalogue", &[]),
    ("words of a protocol stand only in it", &[]),
    (
        "a type name stands for one thing",
        &[
            "About", "Body", "Client", "Cursor", "Found", "Fused", "Member", "Page", "Part", "Refusal", "Status",
            "Store", "Target", "Upload",
        ],
    ),
];

/// Texts of one protocol, which the core has to say in words of its own.
const WORDS_OF_PROTOCOLS: &[&str] = &[
    "web-download",
    "glance-direct",
    "copy-image",
    "publicize_image",
    "locked or error",
    "pass filtering",
    "Authorization not provided",
    "fingerprints don't match",
    "same fingerprint already exists",
    "must specify one of alias",
];

/// The tree that is looked at: this one, unless `tests/measure` names another.
fn root() -> PathBuf {
    std::env::var_os("VISOR_TREE").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

fn sources() -> Vec<Source> {
    source::read(&root()).0
}

/// Compares what breaks a rule with the breaches that are known.
fn hold(rule: &str, found: &BTreeSet<String>) {
    let known = EXCEPTIONS.iter().find(|(name, _)| *name == rule).unwrap_or_else(|| panic!("no rule {rule}")).1;
    let new: Vec<&String> = found.iter().filter(|breach| !known.contains(&breach.as_str())).collect();
    let gone: Vec<&&str> = known.iter().filter(|entry| !found.contains(**entry)).collect();
    assert!(new.is_empty(), "{rule}. It is broken by: {new:#?}");
    assert!(gone.is_empty(), "{rule}. Remove from EXCEPTIONS what no longer happens: {gone:#?}");
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

#[test]
fn rooms_import_only_what_the_table_allows() {
    let allowed = table("| room | may use |");
    let mut rooms = BTreeSet::new();
    for source in sources() {
        let here = source.room();
        if matches!(here, "lib" | "main") {
            continue;
        }
        rooms.insert(here.to_owned());
        let row = allowed.get(here).unwrap_or_else(|| panic!("{here} stands not in the table"));
        let code = source.code();
        for (at, _) in code.match_indices("crate::") {
            let used = code[at + 7..].split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap();
            let fits = used == here || row.contains(used);
            assert!(fits, "{} uses {used}, which the table does not allow", source.path);
        }
    }
    let listed: BTreeSet<String> = allowed.into_keys().collect();
    assert_eq!(listed, rooms, "the table and the source have the same rooms");
}

#[test]
fn words_stand_only_where_the_table_allows() {
    let sources = sources();
    for (word, places) in table("| word | may stand only in |") {
        let mut found = BTreeSet::new();
        for source in &sources {
            let code = source.code();
            // `engine::sled::…` is a module of ours, `sled::…` the crate.
            let named = |at: usize| !code[..at].ends_with(|c: char| c == ':' || c == '_' || c.is_ascii_alphanumeric());
            if code.match_indices(&word).any(|(at, _)| named(at)) {
                let fits = |place: &&String| source.short() == **place || source.room() == place.as_str();
                let place = places.iter().find(fits);
                found.insert(place.unwrap_or_else(|| panic!("{} names {word}", source.path)).clone());
            }
        }
        assert_eq!(found, places, "where {word} stands and where the table says");
    }
}

#[test]
fn files_import_each_other_in_no_circle() {
    let circles = Graph::of(&sources()).circles();
    hold("no circle of files", &circles.iter().map(|files| files.join(" ")).collect());
}

#[test]
fn protocols_do_not_know_each_other() {
    let mut found = BTreeSet::new();
    for (file, imports) in Graph::of(&sources()).imports {
        let Some(here) = protocol(&file) else { continue };
        for (target, _) in imports.iter().filter(|(target, _)| protocol(target).is_some_and(|there| there != here)) {
            found.insert(format!("{file} -> {target}"));
        }
    }
    hold("no protocol imports another", &found);
}

/// The folder below `api` that a file lies in.
fn protocol(file: &str) -> Option<&str> {
    let (folder, _) = file.strip_prefix("src/api/")?.split_once('/')?;
    Some(folder)
}

#[test]
fn layers_are_used_by_their_face() {
    let (mut below_the_face, mut below_the_service) = (BTreeSet::new(), BTreeSet::new());
    for (file, imports) in Graph::of(&sources()).imports {
        for path in imports.values().flatten() {
            let mut steps = path.split("::");
            let (room, item) = (steps.next().unwrap_or_default(), steps.next().unwrap_or_default());
            // What stands in `api/mod.rs` is the face, and a module in it is not.
            let is_module =
                item.starts_with(|c: char| c.is_ascii_lowercase()) && (steps.next().is_some() || is_folder(item));
            if file.starts_with("src/cli/") && room == "api" && is_module {
                below_the_face.insert(format!("{file} -> api::{item}"));
            }
            if file.starts_with("src/api/") && matches!(room, "blob" | "catalog") {
                below_the_service.insert(format!("{file} -> {room}"));
            }
        }
    }
    hold("the command line uses the protocols by their face", &below_the_face);
    hold("protocols use no store and no catalogue", &below_the_service);
}

fn is_folder(protocol: &str) -> bool {
    root().join("src/api").join(protocol).exists()
}

#[test]
fn the_core_speaks_no_protocols_words() {
    let mut found = BTreeSet::new();
    for source in sources().iter().filter(|source| source.room() != "api") {
        for text in source.lines.iter().flat_map(|line| &line.texts) {
            for word in WORDS_OF_PROTOCOLS.iter().filter(|word| text.contains(**word)) {
                found.insert(format!("{}: {word}", source.path));
            }
        }
    }
    hold("words of a protocol stand only in it", &found);
}

/// A name that only its file sees may be used elsewhere for something else.
#[test]
fn a_type_name_stands_for_one_thing() {
    let names = measure::type_names(&sources(), |line| line.trim_start().starts_with("pub"));
    let several: BTreeMap<_, _> = names.into_iter().filter(|(_, files)| files.len() > 1).collect();
    println!("{several:#?}");
    hold("a type name stands for one thing", &several.into_keys().collect());
}

/// A file that outgrows this has two subjects.
#[test]
fn files_stay_readable() {
    for source in sources() {
        let lines = source.lines.iter().filter(|line| line.comment.is_none() || !line.code.trim().is_empty()).count();
        assert!(lines <= 400, "{} has {lines} lines without tests and comments", source.path);
    }
}

#[test]
fn a_module_says_what_it_is_for() {
    for source in sources() {
        let opened = source.lines.iter().any(|line| matches!(line.comment, Some((source::Comment::Module, _))));
        assert!(opened, "{} does not open with //!", source.path);
    }
}
