//! The source in numbers, to compare one state of it with another. `tests/measure` prints them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::process::Command;

use super::graph::Graph;
use super::language;
use super::source::{Comment, Line, Source, read, walk};

#[test]
#[ignore = "prints a table, and proves nothing: tests/measure"]
fn measure() {
    let root = super::root();
    let (sources, inner_tests) = read(&root);
    let lines: Vec<&Line> = sources.iter().flat_map(|source| &source.lines).collect();
    let code = lines.iter().filter(|line| !line.code.trim().is_empty()).count();
    let prod = lines.len();
    let row = |what: &str, value: &dyn Display| println!("{what:<58} {value}");

    row("production files / lines / code lines", &format!("{} / {prod} / {code}", sources.len()));
    row("file lines: median / p90 / max", &spread(sources.iter().map(|source| source.lines.len())));
    let functions = functions(&sources);
    row("functions", &functions.len());
    row("function lines: median / p90 / p99 / max", &spread_of_functions(&functions));
    let long: Vec<String> =
        functions.iter().filter(|f| f.0 > 70).map(|(lines, name)| format!("{name} {lines}")).collect();
    row("functions over 70 lines", &format!("{} {}", long.len(), long.join(", ")));

    let filled = lines.iter().filter(|line| !line.code.trim().is_empty() || line.comment.is_some()).count();
    let comments = |inline: bool| {
        let is = |line: &&&Line| {
            line.code.trim().is_empty()
                && line.comment.as_ref().is_some_and(|(kind, _)| (*kind == Comment::Inline) == inline)
        };
        percent(lines.iter().filter(is).count(), filled)
    };
    row("doc / inline comments, of lines that are not blank", &format!("{} / {}", comments(false), comments(true)));
    let opened =
        sources.iter().filter(|s| s.lines.iter().any(|l| matches!(l.comment, Some((Comment::Module, _))))).count();
    row("modules that open with //!", &percent(opened, sources.len()));
    row("pub items per 1,000 code lines", &per_mille(count(&lines, is_public_item), code));
    row("unwrap + expect + panic", &count(&lines, panics));
    row("allow attributes / TODO", &format!("{} / {}", count(&lines, |c| c.contains("[allow(")), todos(&lines)));
    let tests = inner_tests + outer_tests(&root);
    row("Rust test lines per production line", &format!("{:.2} ({tests})", tests as f64 / prod as f64));

    let names = type_names(&sources, |_| true);
    let several: Vec<&str> = names.iter().filter(|(_, files)| files.len() > 1).map(|(name, _)| name.as_str()).collect();
    row("type names with several meanings", &share(several.len(), names.len()));
    let docs: Vec<String> = sources.iter().flat_map(Source::docs).collect();
    let asking = docs.iter().filter(|text| language::asks(text)).count();
    row("comments of items that begin with What/Who/Which/…", &share(asking, docs.len()));
    let comments: Vec<&String> = lines.iter().filter_map(|l| l.comment.as_ref().map(|(_, text)| text)).collect();
    let persons: usize = comments.iter().map(|text| language::persons(text)).sum();
    let share_of_persons = per_mille(persons, comments.len());
    row("somebody/nobody/whoever per 1,000 comment lines", &format!("{share_of_persons} ({persons})"));
    let repeated = comments.iter().filter(|text| text.starts_with("The same")).count();
    row("comment lines that begin with \"The same\"", &repeated);

    let methods = methods(&sources);
    row("methods of Registry", &methods.get("Registry").copied().unwrap_or(0));
    let mut services: Vec<(&String, &usize)> = methods.iter().filter(|(name, _)| *name != "Registry").collect();
    services.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let services: Vec<String> = services.iter().take(10).map(|(name, count)| format!("{name} {count}")).collect();
    row("most methods of other types in registry/", &services.join(", "));
    let circles = Graph::of(&sources).circles();
    row("circles of files", &circles.len());
    for circle in &circles {
        println!("    {}", circle.join(" "));
    }
    let lock = std::fs::read_to_string(root.join("Cargo.lock")).unwrap_or_default();
    row("packages in the lock file", &lock.matches("[[package]]").count());
    row("commits with a body", &commits(&root));
    if std::env::var_os("VISOR_MEASURE_NAMES").is_some() {
        row("names", &several.join(" "));
    }
}

fn spread(values: impl Iterator<Item = usize>) -> String {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    format!("{} / {} / {}", at(&values, 50), at(&values, 90), values.last().unwrap_or(&0))
}

fn spread_of_functions(functions: &[(usize, String)]) -> String {
    let mut values: Vec<usize> = functions.iter().map(|f| f.0).collect();
    values.sort_unstable();
    let parts = [at(&values, 50), at(&values, 90), at(&values, 99), at(&values, 100)];
    parts.map(|part| part.to_string()).join(" / ")
}

/// The value below which so many percent of the others lie; `values` are sorted.
fn at(values: &[usize], percent: usize) -> usize {
    values.get((values.len() * percent / 100).min(values.len().saturating_sub(1))).copied().unwrap_or(0)
}

fn percent(part: usize, whole: usize) -> String {
    format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64)
}

fn share(part: usize, whole: usize) -> String {
    format!("{part} of {whole} ({})", percent(part, whole))
}

fn per_mille(part: usize, whole: usize) -> String {
    format!("{:.0}", part as f64 * 1000.0 / whole.max(1) as f64)
}

fn count(lines: &[&Line], is: impl Fn(&str) -> bool) -> usize {
    lines.iter().filter(|line| is(&line.code)).count()
}

fn is_public_item(code: &str) -> bool {
    code.trim_start().strip_prefix("pub ").is_some_and(|rest| {
        let word = rest.split(' ').next().unwrap_or_default();
        matches!(word, "fn" | "async" | "unsafe" | "struct" | "enum" | "trait" | "const" | "static" | "type" | "mod")
    })
}

fn panics(code: &str) -> bool {
    [".unwrap()", ".expect(", "panic!(", "unreachable!(", "todo!(", "unimplemented!("]
        .iter()
        .any(|word| code.contains(word))
}

fn todos(lines: &[&Line]) -> usize {
    lines
        .iter()
        .filter(|l| matches!(&l.comment, Some((_, text)) if text.contains("TODO") || text.contains("FIXME")))
        .count()
}

/// Functions with their lines, by the indentation that rustfmt gives them.
pub(super) fn functions(sources: &[Source]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            let Some(name) = function(&line.code) else { continue };
            let indent = line.code.len() - line.code.trim_start().len();
            let close = format!("{}}}", &line.code[..indent]);
            let length = if line.code.ends_with('}') {
                Some(1)
            } else {
                let body = source.lines[at..].iter().position(|l| l.code.starts_with(&close));
                let declared = source.lines[at..]
                    .iter()
                    .position(|l| l.code.ends_with(';') && l.code.len() - l.code.trim_start().len() <= indent);
                body.filter(|end| declared.is_none_or(|without| without > *end)).map(|end| end + 1)
            };
            if let Some(length) = length {
                found.push((length, format!("{} {name}", source.short())));
            }
        }
    }
    found
}

/// The name of the function that begins in a line.
fn function(code: &str) -> Option<&str> {
    let mut rest = code.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after
            .strip_prefix('(')
            .map_or(after, |inner| inner.split_once(')').map_or("", |(_, after)| after))
            .trim_start();
    }
    for word in ["default ", "const ", "async ", "unsafe ", "extern \" \" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    rest.strip_prefix("fn ")?.split(['(', '<']).next()
}

/// The names of structs, enums and traits that stand in lines that count, with the files that define them.
pub(super) fn type_names(sources: &[Source], counts: impl Fn(&str) -> bool) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources {
        for line in &source.lines {
            if let Some(name) = type_name(&line.code).filter(|_| counts(&line.code)) {
                names.entry(name.to_owned()).or_default().insert(source.short().to_owned());
            }
        }
    }
    names
}

fn type_name(code: &str) -> Option<&str> {
    let mut rest = code.trim_start();
    if let Some(after) = rest.strip_prefix("pub") {
        rest = after
            .strip_prefix('(')
            .map_or(after, |inner| inner.split_once(')').map_or("", |(_, after)| after))
            .trim_start();
    }
    let rest = ["struct ", "enum ", "trait "].iter().find_map(|word| rest.strip_prefix(word))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

/// The methods of each type of `registry/`, in all of its own `impl` blocks.
pub(super) fn methods(sources: &[Source]) -> BTreeMap<String, usize> {
    let mut methods: BTreeMap<String, usize> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.room() == "registry") {
        let mut owner: Option<String> = None;
        for line in &source.lines {
            if let Some(head) = line.code.strip_prefix("impl") {
                let head =
                    head.strip_prefix('<').map_or(head, |inner| inner.split_once('>').map_or("", |(_, rest)| rest));
                let name = head.trim().split([' ', '<', '{']).next().unwrap_or_default();
                owner = (!head.contains(" for ")).then(|| name.to_owned());
            } else if line.code.starts_with('}') {
                owner = None;
            } else if let Some(owner) = owner.as_ref().filter(|_| is_method(&line.code)) {
                *methods.entry(owner.clone()).or_default() += 1;
            }
        }
    }
    methods
}

/// Tells a method, which rustfmt indents once, from a function inside one.
fn is_method(code: &str) -> bool {
    code.starts_with("    ") && !code.starts_with("     ") && function(code).is_some()
}

/// The lines of `tests` and `benches`.
fn outer_tests(root: &std::path::Path) -> usize {
    let mut paths = Vec::new();
    walk(&root.join("tests"), &mut paths);
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap().lines().count()).sum()
}

fn commits(root: &std::path::Path) -> String {
    let log = Command::new("git").arg("-C").arg(root).args(["log", "--format=%x01%b"]).output();
    let log = log.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    let bodies: Vec<&str> = log.split('\u{1}').skip(1).collect();
    share(bodies.iter().filter(|body| !body.trim().is_empty()).count(), bodies.len())
}
