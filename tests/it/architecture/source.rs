//! Source files as the rules and the measures see them: production code only, with comments and texts told apart.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A line of production source.
pub(super) struct Line {
    /// The line with comments and the content of texts blanked.
    pub(super) code: String,
    /// The comment of the line, without its marker.
    pub(super) comment: Option<(Comment, String)>,
    /// The literals that begin in this line.
    pub(super) texts: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comment {
    /// `//!`
    Module,
    /// `///`
    Item,
    /// Any other.
    Inline,
}

/// A source file without its `#[cfg(test)]` items.
pub(super) struct Source {
    /// Path below the root, such as `src/registry/mod.rs`.
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
}

impl Source {
    /// The production part of a file.
    pub(super) fn of(path: &str, text: &str) -> Self {
        let marked = mark(text);
        let cuts = test_items(&marked.code);
        Self { path: path.to_owned(), lines: lines(&marked, &cuts) }
    }

    /// The path as the tables of ARCHITECTURE.md write it: below `src`, or `migrations/…`.
    pub(super) fn short(&self) -> &str {
        self.path.strip_prefix("src/").unwrap_or(&self.path)
    }

    /// The folder or file below `src` that this file belongs to.
    pub(super) fn room(&self) -> &str {
        self.short().split(['/', '.']).next().unwrap()
    }

    /// The code with comments and the content of texts blanked.
    pub(super) fn code(&self) -> String {
        self.lines.iter().map(|line| line.code.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The comments of items, each block as one text.
    pub(super) fn docs(&self) -> Vec<String> {
        let mut blocks: Vec<String> = Vec::new();
        let mut inside = false;
        for line in &self.lines {
            match &line.comment {
                Some((Comment::Item, text)) if line.code.trim().is_empty() => {
                    if !inside {
                        blocks.push(String::new());
                    }
                    let block = blocks.last_mut().unwrap();
                    block.push_str(text.trim());
                    block.push(' ');
                    inside = true;
                }
                _ => inside = false,
            }
        }
        blocks
    }
}

/// The production files of `src` and `migrations` below a root, sorted by path, and the lines of everything that is test.
pub(super) fn read(root: &Path) -> (Vec<Source>, usize) {
    let mut paths = Vec::new();
    walk(&root.join("src"), &mut paths);
    walk(&root.join("migrations"), &mut paths);
    paths.sort();
    let mut sources = Vec::new();
    let mut tests = BTreeSet::new();
    let mut test_lines = 0;
    for path in &paths {
        let text = std::fs::read_to_string(path).unwrap();
        let marked = mark(&text);
        let cuts = test_items(&marked.code);
        for cut in &cuts {
            test_lines += marked.code[cut.clone()].lines().count();
            tests.extend(declared_file(path, &marked.code[cut.clone()]));
        }
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        sources.push((path.clone(), text.lines().count(), Source { path: name, lines: lines(&marked, &cuts) }));
    }
    let is_test =
        |path: &Path| tests.iter().any(|test: &PathBuf| path == test || path.starts_with(test.with_extension("")));
    let mut kept = Vec::new();
    for (path, count, source) in sources {
        if is_test(&path) { test_lines += count } else { kept.push(source) }
    }
    (kept, test_lines)
}

/// Every `.rs` file below a folder.
pub(super) fn walk(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// The file of `mod name;` as a test item of this file.
fn declared_file(from: &Path, item: &str) -> Option<PathBuf> {
    let name = item.trim_end().strip_suffix(';')?.rsplit_once("mod ")?.1.trim().to_owned();
    let stem = from.file_stem()?.to_str()?;
    let base = match stem {
        "mod" | "lib" | "main" => from.parent()?.to_path_buf(),
        _ => from.with_extension(""),
    };
    Some(base.join(name + ".rs"))
}

/// A text taken apart; `code` has as many bytes as the text.
struct Marked {
    code: String,
    comments: Vec<(usize, Comment, String)>,
    texts: Vec<(usize, String)>,
}

fn mark(text: &str) -> Marked {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let (mut comments, mut texts) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            let end = at + rest.find('\n').unwrap_or(rest.len());
            comments.push(comment(at, &text[at..end]));
            blank(&mut code, at..end);
            end
        } else if rest.starts_with("/*") {
            let end = at + rest.find("*/").map_or(rest.len(), |end| end + 2);
            comments.push((at, Comment::Inline, text[at..end].to_owned()));
            blank(&mut code, at..end);
            end
        } else if let Some((open, close)) = literal(text, at) {
            texts.push((at, joined(&text[open..close])));
            blank(&mut code, open..close);
            text[close..].find('"').map_or(bytes.len(), |quote| {
                close + quote + 1 + text[close + quote + 1..].bytes().take_while(|b| *b == b'#').count()
            })
        } else if bytes[at] == b'\'' {
            let end = character(text, at);
            if end > at + 1 {
                blank(&mut code, at + 1..end - 1);
            }
            end
        } else {
            at + rest.chars().next().map_or(1, char::len_utf8)
        };
        at = end;
    }
    Marked { code: String::from_utf8(code).unwrap(), comments, texts }
}

fn comment(at: usize, text: &str) -> (usize, Comment, String) {
    let (kind, marker) = match text {
        _ if text.starts_with("////") => (Comment::Inline, 4),
        _ if text.starts_with("///") => (Comment::Item, 3),
        _ if text.starts_with("//!") => (Comment::Module, 3),
        _ => (Comment::Inline, 2),
    };
    (at, kind, text[marker..].trim().to_owned())
}

fn blank(code: &mut [u8], range: Range<usize>) {
    for byte in &mut code[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

/// The content of the text that begins here, if one does.
fn literal(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let after_name = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if !after_name && (bytes[at] == b'r' || bytes[at..].starts_with(b"br")) {
        let start = at + if bytes[at] == b'b' { 2 } else { 1 };
        let hashes = bytes[start..].iter().take_while(|b| **b == b'#').count();
        if bytes.get(start + hashes) == Some(&b'"') {
            let open = start + hashes + 1;
            let close = open + text[open..].find(&format!("\"{}", "#".repeat(hashes)))?;
            return Some((open, close));
        }
    }
    if bytes[at] != b'"' {
        return None;
    }
    let mut end = at + 1;
    while end < bytes.len() && bytes[end] != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some((at + 1, end.min(bytes.len())))
}

/// The end of a character literal, or of the mark of a lifetime.
fn character(text: &str, at: usize) -> usize {
    let mut chars = text[at + 1..].char_indices();
    match chars.next() {
        Some((_, '\\')) => {
            chars.next();
            text[at + 1..].char_indices().skip(2).find(|(_, c)| *c == '\'').map_or(at + 1, |(end, _)| at + 1 + end + 1)
        }
        Some((_, c)) if text[at + 1 + c.len_utf8()..].starts_with('\'') => at + 1 + c.len_utf8() + 1,
        _ => at + 1,
    }
}

/// A literal with its continued lines joined.
fn joined(text: &str) -> String {
    let mut parts = text.split("\\\n");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |whole, part| whole + part.trim_start())
}

/// The items that only tests see.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in code.match_indices("#[cfg(") {
        let condition = &code[at + 6..];
        if !condition.starts_with("test)") && !condition.starts_with("all(test") {
            continue;
        }
        if found.last().is_none_or(|last| at >= last.end) {
            found.push(at..item_end(code, at));
        }
    }
    found
}

/// The end of the item, statement, field or arm whose attribute begins here.
fn item_end(code: &str, at: usize) -> usize {
    let bytes = code.as_bytes();
    let (mut depth, mut angles, mut in_attribute) = (0usize, 0usize, false);
    let mut here = at;
    while here < bytes.len() {
        match bytes[here] {
            b'#' if depth == 0 => in_attribute = true,
            b'(' | b'[' | b'{' => depth += 1,
            b'<' => angles += 1,
            b'>' if here > 0 && !matches!(bytes[here - 1], b'-' | b'=') => angles = angles.saturating_sub(1),
            b')' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 && in_attribute && bytes[here] == b']' {
                    in_attribute = false;
                }
            }
            b'}' if depth == 0 => return here,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return here + 1;
                }
            }
            b';' if depth == 0 => return here + 1,
            b',' if depth == 0 && angles == 0 => return here + 1,
            _ => {}
        }
        here += 1;
    }
    bytes.len()
}

/// The lines of a file that are production.
fn lines(marked: &Marked, cuts: &[Range<usize>]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut at = 0;
    for code in marked.code.split_inclusive('\n') {
        let range = at..at + code.len();
        at = range.end;
        let start = range.start + (code.len() - code.trim_start().len());
        if cuts.iter().any(|cut| cut.contains(&start)) {
            continue;
        }
        let first = marked.comments.partition_point(|(place, ..)| *place < range.start);
        let comment = marked.comments.get(first).filter(|(place, ..)| *place < range.end);
        let first = marked.texts.partition_point(|(place, _)| *place < range.start);
        let texts = marked.texts[first..].iter().take_while(|(place, _)| *place < range.end);
        lines.push(Line {
            code: code.trim_end().to_owned(),
            comment: comment.map(|(_, kind, text)| (*kind, text.clone())),
            texts: texts.map(|(_, text)| text.clone()).collect(),
        });
    }
    lines
}

#[test]
fn texts_comments_and_tests_are_told_from_code() {
    let text = concat!(
        "//! Opening.\n",
        "/// Names 'a thing.\n/// And more.\n",
        "fn f<'a>(c: char) -> &'a str { if c == '\"' { \"// no comment {\" } else { r#\"\"}\"# } } // why\n",
        "#[cfg(test)]\nuse crate::gone;\n",
        "#[cfg(test)]\nmod tests {\n    fn g() { \"}\"; }\n}\n",
        "const LAST: u8 = b'x';\n",
    );
    let source = Source::of("src/a.rs", text);
    let code = source.code();
    assert!(code.contains("fn f<'a>") && code.contains("const LAST"), "{code}");
    for gone in ["no comment", "why", "gone", "tests", "Opening"] {
        assert!(!code.contains(gone), "{gone}: {code}");
    }
    assert_eq!(source.docs(), ["Names 'a thing. And more. "]);
    let texts: Vec<&String> = source.lines.iter().flat_map(|line| &line.texts).collect();
    assert_eq!(texts, ["// no comment {", "\"}"]);
}
