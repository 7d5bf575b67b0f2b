//! Imports from file to file, and their circles.
//!
//! An import is a path that begins with `crate`, `super` or `self`, with a module that the file declares, or with a name that
//! one of its `use` lines brings in. A path ends at the file that defines what it names: re-exports are followed.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// Files, their modules, and their imports.
pub(super) struct Graph {
    /// Path of each file below the root.
    pub(super) files: Vec<String>,
    /// Each file with the files that it imports from, and the paths that it says it with.
    pub(super) imports: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
}

type Path = Vec<String>;

struct Module {
    file: String,
    /// Names that `use` lines bring in, with their whole paths.
    names: BTreeMap<String, Path>,
    /// Paths that `use a::b::*` opens.
    globs: Vec<Path>,
}

pub(super) fn module_of(file: &str) -> Option<Path> {
    let inside = match file.strip_prefix("migrations/") {
        Some(rest) => format!("catalog/migrations/{rest}"),
        None => file.strip_prefix("src/")?.to_owned(),
    };
    let mut path: Path = inside.strip_suffix(".rs")?.split('/').map(ToOwned::to_owned).collect();
    match path.last()?.as_str() {
        "mod" => {
            path.pop();
        }
        "lib" if path.len() == 1 => path.clear(),
        "main" if path.len() == 1 => return None,
        _ => {}
    }
    Some(path)
}

impl Graph {
    pub(super) fn of(sources: &[Source]) -> Self {
        let mut modules: BTreeMap<Path, Module> = BTreeMap::new();
        for source in sources {
            if let Some(path) = module_of(&source.path) {
                modules.insert(path, Module { file: source.path.clone(), names: BTreeMap::new(), globs: Vec::new() });
            }
        }
        let known: BTreeSet<Path> = modules.keys().cloned().collect();
        let mut said: BTreeMap<String, Vec<Path>> = BTreeMap::new();
        for source in sources {
            let Some(here) = module_of(&source.path) else { continue };
            let code = source.code();
            let mut paths = Vec::new();
            let (mut names, mut globs) = (BTreeMap::new(), Vec::new());
            for tree in uses(&code) {
                for (path, name) in leaves(&tree) {
                    let Some(path) = absolute(&here, &path, &known) else { continue };
                    paths.push(path.clone());
                    match name.as_str() {
                        "*" => globs.push(path),
                        "_" => {}
                        _ => drop(names.insert(name, path)),
                    }
                }
            }
            for path in inline(&without_uses(&code)) {
                if let Some(full) = names.get(&path[0]) {
                    paths.push(full.iter().chain(&path[1..]).cloned().collect());
                } else if let Some(full) = absolute(&here, &path, &known) {
                    paths.push(full);
                }
            }
            let module = modules.get_mut(&here).unwrap();
            (module.names, module.globs) = (names, globs);
            said.insert(source.path.clone(), paths);
        }
        let mut imports: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (file, paths) in said {
            let row = imports.entry(file.clone()).or_default();
            for path in paths {
                if let Some(target) = resolve(&path, &modules, 0).filter(|target| *target != file) {
                    row.entry(target).or_default().insert(path.join("::"));
                }
            }
        }
        Self { files: sources.iter().map(|source| source.path.clone()).collect(), imports }
    }

    /// The circles of files: groups in which each file imports each other one, if only by way of others.
    ///
    /// Imports of a file from a module that it lies in do not count: a folder's `mod.rs` names what its files share, and owns
    /// them.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let edges: BTreeMap<&str, Vec<&str>> = self
            .files
            .iter()
            .map(|file| {
                let row = self.imports.get(file).into_iter().flat_map(|row| row.keys());
                (file.as_str(), row.filter(|target| !owns(target, file)).map(String::as_str).collect())
            })
            .collect();
        let reach: BTreeMap<&str, BTreeSet<&str>> = edges.keys().map(|file| (*file, reached(file, &edges))).collect();
        let mut circles: BTreeSet<Vec<String>> = BTreeSet::new();
        for (file, there) in &reach {
            let group: Vec<String> =
                there.iter().filter(|other| reach[**other].contains(file)).map(|other| (*other).to_owned()).collect();
            if group.len() > 1 {
                circles.insert(group);
            }
        }
        circles.into_iter().collect()
    }
}

/// Tells whether the first file is a module that the second one lies in.
pub(super) fn owns(module: &str, file: &str) -> bool {
    match (module_of(module), module_of(file)) {
        (Some(outer), Some(inner)) => inner.len() > outer.len() && inner.starts_with(&outer),
        _ => false,
    }
}

fn reached<'a>(from: &'a str, edges: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in edges.get(file).into_iter().flatten() {
            if seen.insert(*next) {
                open.push(next);
            }
        }
    }
    seen
}

/// The file that defines what a path names.
fn resolve(path: &[String], modules: &BTreeMap<Path, Module>, depth: usize) -> Option<String> {
    let length = (0..=path.len()).rev().find(|length| modules.contains_key(&path[..*length]))?;
    let module = &modules[&path[..length]];
    let Some(name) = path.get(length).filter(|_| depth < 8) else { return Some(module.file.clone()) };
    if let Some(full) = module.names.get(name) {
        let full: Path = full.iter().chain(&path[length + 1..]).cloned().collect();
        return resolve(&full, modules, depth + 1);
    }
    for glob in &module.globs {
        if let Some(through) = modules.get(glob).and_then(|module| module.names.get(name)) {
            return resolve(through, modules, depth + 1);
        }
    }
    Some(module.file.clone())
}

/// A path as it is from the root of the crate, if it is one of this crate.
fn absolute(here: &[String], path: &[String], known: &BTreeSet<Path>) -> Option<Path> {
    let mut base: Path = match path[0].as_str() {
        "crate" => Vec::new(),
        "self" | "super" => here.to_vec(),
        first => {
            let child: Path = here.iter().cloned().chain([first.to_owned()]).collect();
            known.contains(&child).then_some(())?;
            here.to_vec()
        }
    };
    let mut rest = path;
    while let Some(first) = rest.first() {
        match first.as_str() {
            "crate" | "self" => {}
            "super" => drop(base.pop()?),
            _ => break,
        }
        rest = &rest[1..];
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// The tree of each `use` of a file.
fn uses(code: &str) -> Vec<String> {
    use_ranges(code).into_iter().map(|range| code[range].to_owned()).collect()
}

fn use_ranges(code: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("use ") {
        let line = code[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = code[line..at].trim();
        let is_use = before.is_empty() || before == "pub" || before.starts_with("pub(") && before.ends_with(')');
        if let Some(end) = code[at..].find(';').filter(|_| is_use) {
            found.push(at + 4..at + end);
        }
    }
    found
}

fn without_uses(code: &str) -> String {
    let mut bytes = code.as_bytes().to_vec();
    for range in use_ranges(code) {
        for byte in &mut bytes[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// The paths of a `use` tree, each with the name that it brings in.
fn leaves(tree: &str) -> Vec<(Path, String)> {
    fn go(prefix: &[String], tree: &str, into: &mut Vec<(Path, String)>) {
        let tree = tree.trim();
        if let Some(open) = tree.find('{') {
            let mut prefix = prefix.to_vec();
            prefix
                .extend(tree[..open].split("::").map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned));
            let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len())];
            let (mut depth, mut start) = (0, 0);
            for (at, c) in inner.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        go(&prefix, &inner[start..at], into);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            go(&prefix, &inner[start..], into);
        } else if !tree.is_empty() {
            let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, name)| (path, Some(name.trim())));
            let mut whole = prefix.to_vec();
            whole.extend(path.split("::").map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()));
            let last = whole.last().cloned().unwrap_or_default();
            if last == "*" || last == "self" && whole.len() > 1 {
                whole.pop();
            }
            let name = if last == "self" { whole.last().cloned().unwrap_or_default() } else { last };
            into.push((whole, alias.map_or(name, ToOwned::to_owned)));
        }
    }
    let mut found = Vec::new();
    go(&[], tree, &mut found);
    found.retain(|(path, _)| !path.is_empty());
    found
}

/// The paths that stand in code.
fn inline(code: &str) -> Vec<Path> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = code;
    let mut before = ' ';
    while let Some(at) = rest.find(is_name) {
        before = rest[..at].chars().next_back().unwrap_or(before);
        let mut path: Path = Vec::new();
        rest = &rest[at..];
        loop {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            path.push(rest[..end].to_owned());
            rest = &rest[end..];
            match rest.strip_prefix("::").filter(|next| next.starts_with(is_name)) {
                Some(next) => rest = next,
                None => break,
            }
        }
        if path.len() > 1 && before != ':' && before != '.' {
            found.push(path);
        }
        before = 'x';
    }
    found
}

fn graph(files: &[(&str, &str)]) -> Graph {
    let sources: Vec<Source> = files.iter().map(|(path, text)| Source::of(path, &text.replace("; ", ";\n"))).collect();
    Graph::of(&sources)
}

#[test]
fn a_path_is_followed_to_the_file_that_defines_what_it_names() {
    let found = graph(&[
        ("src/lib.rs", "pub mod a; pub mod b;"),
        ("src/a/mod.rs", "mod deep; mod open; pub use self::deep::{Thing as Renamed, more}; pub use open::*;"),
        ("src/a/deep.rs", "pub struct Thing;"),
        ("src/a/open.rs", "pub use super::deep::Thing;"),
        ("src/b.rs", "use crate::a::{self, Renamed}; fn f() { a::Thing; crate::a::Own::new() }"),
    ]);
    let of_b: Vec<&String> = found.imports["src/b.rs"].keys().collect();
    assert_eq!(of_b, ["src/a/deep.rs", "src/a/mod.rs"]);
}

#[test]
fn circles_are_found_over_re_exports_and_not_between_a_folder_and_its_files() {
    let found = graph(&[
        ("src/lib.rs", "pub mod a;"),
        ("src/a/mod.rs", "mod x; mod y; mod z; pub use self::x::X; pub struct Shared; fn f() { y::go(z::Z) }"),
        ("src/a/x.rs", "use super::{Shared, y}; pub struct X;"),
        ("src/a/y.rs", "use super::X; pub fn go() {}"),
        ("src/a/z.rs", "use super::Shared; pub struct Z;"),
    ]);
    assert_eq!(found.circles(), [["src/a/x.rs", "src/a/y.rs"]]);
}
