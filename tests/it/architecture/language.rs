//! The English of comments and texts, as far as it can be counted. CONTRIBUTING.md has the rules.

use std::path::{Path, PathBuf};

use super::source::{Comment, Line, Source};
use super::{root, sources};

/// First words of a comment that asks, instead of naming what stands below.
const QUESTIONS: &[&str] = &[
    "What", "Who", "Whom", "Whose", "Whoever", "Which", "Whether", "When", "Where", "How", "So", "That", "Those", "Why",
];

/// First words that mean nothing in the generated pages, where the order is another.
const POINTERS: &[&str] = &["The same", "So many", "So much", "So long", "As above", "Likewise"];

/// Persons where a request, a client or an account is meant.
const PERSONS: &[&str] = &["somebody", "nobody", "whoever"];

/// Tells whether a comment begins with a question.
pub(super) fn asks(doc: &str) -> bool {
    let first = doc.split(|c: char| !c.is_alphanumeric()).find(|word| !word.is_empty()).unwrap_or_default();
    QUESTIONS.contains(&first)
}

/// Tells whether a comment begins by pointing at another one.
pub(super) fn points(doc: &str) -> bool {
    POINTERS.iter().any(|words| doc.starts_with(words))
}

/// Mentions of persons in a text.
pub(super) fn persons(text: &str) -> usize {
    let text = text.to_lowercase();
    text.split(|c: char| !c.is_alphabetic()).filter(|word| PERSONS.contains(word)).count()
}

/// Fails for each breach of a rule, and shows its place.
fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}: {} places:\n{}", found.len(), found.join("\n"));
}

fn lines(sources: &[Source]) -> impl Iterator<Item = (String, &Line)> {
    sources.iter().flat_map(|source| source.lines.iter().map(move |line| (source.path.clone(), line)))
}

fn docs(is: impl Fn(&str) -> bool) -> Vec<String> {
    let sources = sources();
    let all = sources.iter().flat_map(|source| source.docs().into_iter().map(move |doc| (source.path.clone(), doc)));
    all.filter(|(_, doc)| is(doc)).map(|(path, doc)| format!("{path}: {doc}")).collect()
}

#[test]
fn comments_name_the_thing() {
    none("comments that begin with a question", &docs(asks));
    none("comments that point at another one", &docs(points));
}

#[test]
fn comments_and_texts_are_about_things_not_persons() {
    let sources = sources();
    let comments = lines(&sources).filter_map(|(path, line)| {
        let (_, text): &(Comment, String) = line.comment.as_ref()?;
        (persons(text) > 0).then(|| format!("{path}: {text}"))
    });
    none("comments about persons", &comments.collect::<Vec<_>>());
    let texts = lines(&sources).flat_map(|(path, line)| {
        let about = line.texts.iter().filter(|text| persons(text) > 0);
        about.map(move |text| format!("{path}: {text}")).collect::<Vec<_>>()
    });
    none("texts about persons", &texts.collect::<Vec<_>>());
}

#[test]
fn pages_are_about_things_not_persons() {
    let mut pages: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "visor.toml"].map(Into::into).into();
    pages_below(Path::new("docs"), &mut pages);
    let mut found = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(root().join(&page)).unwrap();
        let about = text.lines().filter(|line| persons(line) > 0);
        found.extend(about.map(|line| format!("{}: {line}", page.display())));
    }
    none("pages about persons", &found);
}

#[test]
fn decisions_have_a_context_and_a_price() {
    let mut pages = Vec::new();
    pages_below(Path::new("docs/decisions"), &mut pages);
    let list = std::fs::read_to_string(root().join("docs/decisions/README.md")).unwrap();
    for page in pages.iter().filter(|page| !page.ends_with("README.md")) {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let parts: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(parts, ["## Context", "## Decision", "## Price"], "{}", page.display());
        let name = page.file_name().unwrap().to_string_lossy();
        assert!(list.contains(&format!("({name})")), "{name} stands not in the list");
    }
}

/// Every page below a folder, as a path from the root.
fn pages_below(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(root().join(dir)).unwrap() {
        let path = dir.join(entry.unwrap().file_name());
        if root().join(&path).is_dir() {
            pages_below(&path, into);
        } else if path.extension().is_some_and(|e| e == "md") {
            into.push(path);
        }
    }
}
