//! The dependencies against `deny.toml`: licences, sources, versions. It reads what Cargo says of them, so it needs no network, and not
//! cargo-deny, which would have to be compiled on every new machine. Advisories are cargo-deny's: their database is somewhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use toml::Table;

/// A package that is compiled here, for the tests or their tools too, as `deny.toml` spells it: `name@version`.
struct Package {
    name: String,
    id: String,
    license: String,
}

/// Every one of them. `cargo metadata` would list what no feature asks for as well.
fn packages() -> Vec<Package> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "tree",
        "--locked",
        "--offline",
        "--all-features",
        "-e",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ];
    let done = Command::new(cargo).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(done.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    let lines: BTreeSet<&str> =
        std::str::from_utf8(&done.stdout).unwrap().lines().map(|line| line.trim_end_matches(" (*)")).collect();
    let packages = lines.into_iter().filter(|line| !line.is_empty()).map(|line| {
        let (package, license) = line.split_once('|').unwrap();
        let (name, version) = package.split_once(" v").unwrap();
        let version = version.split(' ').next().unwrap();
        Package { name: name.to_owned(), id: format!("{name}@{version}"), license: license.to_owned() }
    });
    packages.collect()
}

fn read(name: &str) -> Table {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap().parse().unwrap()
}

/// The list that a section has under this key.
fn list<'a>(table: &'a Table, section: &str, key: &str) -> &'a [toml::Value] {
    table[section][key].as_array().unwrap_or_else(|| panic!("{section}.{key} is no list"))
}

fn field<'a>(entry: &'a toml::Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_else(|| panic!("{entry} has no `{name}`"))
}

/// The licences of an SPDX expression that has to be agreed to, of those that are allowed; `None` if they do not suffice.
fn agreed(expression: &str, allowed: &BTreeSet<&str>) -> Option<BTreeSet<String>> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let found = either(&mut words, allowed);
    assert!(words.next().is_none(), "no licence expression: {expression}");
    found
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// `OR` binds weaker than `AND`.
fn either(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> Option<BTreeSet<String>> {
    let mut found = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        let other = both(words, allowed);
        found = found.or(other);
    }
    found
}

fn both(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> Option<BTreeSet<String>> {
    let mut found = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        let other = one(words, allowed);
        found = found.zip(other).map(|(mut all, more)| {
            all.extend(more);
            all
        });
    }
    found
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<&str>) -> Option<BTreeSet<String>> {
    let mut name = words.next()?.to_owned();
    if name == "(" {
        let found = either(words, allowed);
        assert_eq!(words.next(), Some(")"), "a parenthesis is not closed");
        return found;
    }
    if words.next_if_eq(&"WITH").is_some() {
        name = format!("{name} WITH {}", words.next().unwrap_or_default());
    }
    allowed.contains(name.as_str()).then(|| BTreeSet::from([name]))
}

#[test]
fn every_licence_is_one_that_is_allowed_and_each_that_is_allowed_occurs() {
    let deny = read("deny.toml");
    let allowed: BTreeSet<&str> = list(&deny, "licenses", "allow").iter().map(|name| name.as_str().unwrap()).collect();
    let exceptions: BTreeMap<&str, BTreeSet<&str>> = list(&deny, "licenses", "exceptions")
        .iter()
        .map(|entry| {
            (field(entry, "crate"), entry["allow"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect())
        })
        .collect();
    let (mut occur, mut excepted) = (BTreeSet::new(), BTreeSet::new());
    for package in packages() {
        if let Some(found) = agreed(&package.license, &allowed) {
            occur.extend(found);
            continue;
        }
        let more = exceptions.get(package.name.as_str()).cloned().unwrap_or_default();
        assert!(
            agreed(&package.license, &(&more | &allowed)).is_some(),
            "{}: `{}` is not allowed",
            package.id,
            package.license
        );
        excepted.insert(package.name);
    }
    let idle: Vec<_> = allowed.iter().filter(|name| !occur.contains(**name) && !name.contains(" WITH ")).collect();
    assert!(idle.is_empty(), "allowed and never met: {idle:?}");
    assert!(excepted.iter().map(String::as_str).eq(exceptions.keys().copied()), "exceptions: {excepted:?} need one");
}

#[test]
fn every_dependency_comes_from_crates_io_and_names_its_version() {
    let deny = read("deny.toml");
    for key in ["unknown-registry", "unknown-git"] {
        assert_eq!(deny["sources"][key].as_str(), Some("deny"), "{key}");
    }
    assert_eq!(deny["bans"]["wildcards"].as_str(), Some("deny"));
    // All that is locked, that of other machines too.
    for package in read("Cargo.lock")["package"].as_array().unwrap() {
        let source = package.get("source").and_then(toml::Value::as_str);
        let own = source.is_none() && field(package, "name") == "visor";
        assert!(own || source == Some("registry+https://github.com/rust-lang/crates.io-index"), "{package}");
    }
    let manifest = read("Cargo.toml");
    for (name, wanted) in
        ["dependencies", "dev-dependencies"].iter().flat_map(|kind| manifest[*kind].as_table().unwrap())
    {
        let version = wanted.as_str().unwrap_or_else(|| field(wanted, "version"));
        assert!(version.starts_with(|c: char| c.is_ascii_digit()), "{name} = {version}");
    }
}

#[test]
fn a_crate_comes_in_one_version_unless_a_reason_is_given() {
    let deny = read("deny.toml");
    let skipped: BTreeSet<&str> = list(&deny, "bans", "skip")
        .iter()
        .map(|entry| {
            assert!(!field(entry, "reason").is_empty());
            field(entry, "crate")
        })
        .collect();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in packages() {
        versions.entry(package.name).or_default().push(package.id);
    }
    let mut needed = BTreeSet::new();
    for several in versions.values().filter(|ids| ids.len() > 1) {
        let (given, rest): (Vec<_>, Vec<_>) = several.iter().partition(|id| skipped.contains(id.as_str()));
        assert!(rest.len() < 2, "several versions, without a reason in deny.toml: {rest:?}");
        needed.extend(given.into_iter().map(String::as_str));
    }
    assert_eq!(skipped, needed, "what deny.toml skips is there beside another version");
}

#[test]
fn what_is_banned_is_not_there_and_an_ignored_advisory_is_about_what_is() {
    let deny = read("deny.toml");
    let packages = packages();
    for entry in list(&deny, "bans", "deny") {
        let (name, below) =
            field(entry, "crate").split_once("@<").map_or((field(entry, "crate"), None), |(n, v)| (n, Some(v)));
        for package in packages.iter().filter(|package| package.name == name) {
            let version = package.id.split_once('@').unwrap().1;
            let allowed = below.is_some_and(|below| numbers(version) >= numbers(below));
            assert!(allowed, "{} is banned: {}", package.id, field(entry, "reason"));
        }
    }
    for entry in list(&deny, "advisories", "ignore") {
        let (about, why) = field(entry, "reason").split_once(": ").unwrap();
        let there = packages.iter().any(|package| package.name == about);
        assert!(there && !why.is_empty(), "{}: nothing here needs {about} any more", field(entry, "id"));
    }
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

#[test]
fn a_licence_expression_is_read_as_spdx_reads_it() {
    let allowed = BTreeSet::from(["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"]);
    for (expression, holds) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("GPL-3.0 OR MIT AND ISC", true),
        ("(GPL-3.0 OR MIT) AND GPL-2.0", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0", false),
    ] {
        assert_eq!(agreed(expression, &allowed).is_some(), holds, "{expression}");
    }
}
