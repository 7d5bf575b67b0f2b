//! Entries of the catalogue as they are written, and their checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::{Table, Value};

use super::vendor::{ListKind, Vendor};
use crate::error::{did_you_mean, shown};
use crate::image::{Architecture, Format};
use crate::vendor::level::Level;
use crate::vendor::rules::VendorRules;
use crate::vendor::signature::is_line_key;
use crate::vendor::site;
use crate::vendor::template::{KnownFields, Template};

/// Keys of an entry.
const KEYS: [&str; 25] = [
    "title",
    "kind",
    "base",
    "mirrors",
    "sites",
    "image",
    "list",
    "find",
    "moving",
    "sums",
    "signature",
    "keys",
    "require",
    "releases",
    "examples",
    "aliases",
    "variant",
    "variants",
    "architectures",
    "file_architectures",
    "schematic",
    "format",
    "unpack",
    "checked",
    "note",
];

/// One text, or several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "OneOrMany")]
struct Texts(Vec<String>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl From<OneOrMany> for Texts {
    fn from(texts: OneOrMany) -> Self {
        match texts {
            OneOrMany::One(text) => Self(vec![text]),
            OneOrMany::Many(texts) => Self(texts),
        }
    }
}

/// Releases: by number with their codenames, or only their names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Releases {
    Named(BTreeMap<String, String>),
    Listed(Vec<String>),
}

impl Default for Releases {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

/// An entry, as `vendors.toml` says what its keys mean.
#[derive(Deserialize)]
struct Entry {
    title: String,
    kind: String,
    base: String,
    #[serde(default)]
    mirrors: Texts,
    #[serde(default)]
    sites: Texts,
    image: Option<String>,
    list: Option<String>,
    find: Option<String>,
    #[serde(default)]
    moving: Texts,
    #[serde(default)]
    sums: Texts,
    #[serde(default)]
    signature: Texts,
    #[serde(default)]
    keys: Texts,
    require: String,
    #[serde(default)]
    releases: Releases,
    #[serde(default)]
    examples: Texts,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    variant: String,
    #[serde(default)]
    variants: BTreeMap<String, Texts>,
    #[serde(default)]
    architectures: BTreeMap<String, String>,
    #[serde(default)]
    file_architectures: BTreeMap<String, String>,
    schematic: Option<String>,
    format: Option<String>,
    #[serde(default)]
    unpack: Texts,
    checked: Option<bool>,
    #[serde(default)]
    note: String,
}

/// Puts the keys of a table over an entry.
pub(super) fn put(entry: &mut Table, over: Table, path: &str) -> Result<(), String> {
    for (key, value) in over {
        if !KEYS.contains(&key.as_str()) {
            let near = did_you_mean(&key, KEYS.iter().map(|key| (*key).to_owned()));
            return Err(format!("unknown key {path}.{key}{near}"));
        }
        entry.insert(key, value);
    }
    Ok(())
}

/// Makes a vendor of an entry.
pub(super) fn read(name: &str, entry: &Table) -> Result<Vendor, String> {
    if let Some(missing) = ["title", "kind", "base", "require"].iter().find(|key| !entry.contains_key(**key)) {
        return Err(format!("it has no {missing}, which every vendor needs"));
    }
    let mut entry: Entry =
        Value::Table(entry.clone()).try_into().map_err(|error: toml::de::Error| error.message().to_owned())?;
    for base in [&mut entry.base].into_iter().chain(&mut entry.mirrors.0).chain(&mut entry.sites.0) {
        *base =
            site::base(base).ok_or_else(|| format!("{:?} is not a URL of a folder, of http or https", shown(base)))?;
    }
    let kind: ListKind = entry.kind.parse()?;
    let template = |text: &Option<String>| text.as_deref().map(Template::parse).transpose();
    let (image, list, find) = (template(&entry.image)?, template(&entry.list)?, template(&entry.find)?);
    for (key, needed, there) in
        [("image", kind.needs_image(), image.is_some()), ("list", kind.needs_list(), list.is_some())]
    {
        if needed && !there {
            return Err(format!("it has no {key}, which the kind {} needs", kind.name()));
        }
    }
    if !entry.moving.0.is_empty() && entry.architectures.is_empty() {
        return Err("it has moving and no architectures, whose words stand in such URLs".to_owned());
    }
    for text in entry.sums.0.iter().chain(&entry.signature.0) {
        Template::parse(text)?;
    }
    let at_base = |text: &String| if text.contains("://") { text.clone() } else { format!("{}{text}", entry.base) };
    let moving = entry.moving.0.iter().map(|text| Template::parse(&at_base(text))).collect::<Result<_, _>>()?;
    let (releases, codenames) = releases(entry.releases);
    let format =
        entry.format.as_deref().map(|word| Format::parse(word).ok_or_else(|| format!("{word:?} is no format")));
    let (sums, signatures) = (entry.sums.0, entry.signature.0);
    let rules = VendorRules {
        title: entry.title.clone(),
        sums,
        signatures,
        keys: keys(&entry.keys.0)?,
        require: level(&entry.require)?,
    };
    let (checked, base) = (entry.checked.unwrap_or(true), entry.base);
    let vendor = Vendor {
        name: name.to_owned(),
        title: entry.title,
        kind,
        base_template: Template::parse(&base)?,
        base,
        places: Vec::new(),
        mirrors: entry.mirrors.0,
        sites: entry.sites.0,
        image,
        list,
        find,
        moving,
        rules,
        releases,
        codenames,
        examples: entry.examples.0,
        aliases: entry.aliases,
        variant: (!entry.variant.is_empty()).then_some(entry.variant),
        variants: entry.variants.into_iter().map(|(name, texts)| (name, texts.0)).collect(),
        architectures: architectures(entry.architectures)?,
        file_architectures: architectures(entry.file_architectures)?,
        schematic: entry.schematic,
        format: format.transpose()?,
        unpack: unpack(entry.unpack.0)?,
        checked,
        note: entry.note,
    };
    Ok(vendor.placed())
}

fn level(word: &str) -> Result<Level, String> {
    let level: Level = word.parse().map_err(|words| format!("require = {word:?}: {words}"))?;
    match level {
        Level::Given => {
            Err("require = \"given\": a vendor gives no digests to you; you do that with a name".to_owned())
        }
        level => Ok(level),
    }
}

/// Checks keys: fingerprints of primary keys, in upper case, or signify keys.
fn keys(keys: &[String]) -> Result<Vec<String>, String> {
    let key = |key: &String| {
        let hex: String = key.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_ascii_uppercase()).collect();
        let is_fingerprint = matches!(hex.len(), 40 | 64) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        match (is_fingerprint, is_line_key(key)) {
            (true, _) => Ok(hex),
            (_, true) => Ok(key.clone()),
            _ => Err(format!(
                "{key:?} is neither the fingerprint of a primary key, of 40 digits, nor a key of signify or minisign, \
                 of 56 characters"
            )),
        }
    };
    keys.iter().map(key).collect()
}

/// Names of releases, and the codenames of those that have one.
fn releases(releases: Releases) -> (Vec<String>, BTreeMap<String, String>) {
    match releases {
        Releases::Named(named) => (named.keys().rev().cloned().collect(), named),
        Releases::Listed(names) => (names, BTreeMap::new()),
    }
}

fn architectures(words: BTreeMap<String, String>) -> Result<Vec<(Architecture, String)>, String> {
    let read = |(name, word): (String, String)| match Architecture::parse(&name) {
        Some(architecture) => Ok((architecture, word)),
        None => Err(format!("{name:?} is no architecture")),
    };
    words.into_iter().map(read).collect()
}

fn unpack(words: Vec<String>) -> Result<Vec<String>, String> {
    const KNOWN: [&str; 5] = ["xz", "bz2", "zst", "gz", "tar"];
    match words.iter().find(|word| !KNOWN.contains(&word.as_str())) {
        Some(wrong) => Err(format!("unpack = {wrong:?}: it can be {}", KNOWN.join(", "))),
        None => Ok(words),
    }
}

impl Vendor {
    /// Rules for a file of this vendor, with the fields of their templates filled in.
    ///
    /// A template that needs more than the URL tells is left out.
    pub fn rules_for(&self, url: &str) -> VendorRules {
        let facts = self.facts_of(url);
        let fill = |texts: &[String]| {
            let filled = texts.iter().filter_map(|text| {
                let template = Template::parse(text).ok()?;
                let filled = template.fill_known(&facts);
                let later = template.missing(&facts.with("file", "").with("sums", "")).is_none();
                later.then_some(filled)
            });
            filled.collect()
        };
        VendorRules { sums: fill(&self.rules.sums), signatures: fill(&self.rules.signatures), ..self.rules.clone() }
    }

    /// Facts that the URL of an image tells, if it is one that the template makes.
    fn facts_of(&self, url: &str) -> KnownFields {
        let Some(image) = &self.image else { return KnownFields::default() };
        let releases = self.releases.iter().map(|release| KnownFields::default().with("release", release.as_str()));
        for facts in releases.chain([KnownFields::default()]) {
            let base = self.base_template.fill_known(&facts);
            let bases = [&base].into_iter().chain(&self.mirrors).chain(&self.sites);
            for rest in bases.filter_map(|base| url.strip_prefix(base.as_str())) {
                if let Ok(Some(found)) = image.read(&facts, rest) {
                    return found;
                }
            }
        }
        KnownFields::default()
    }
}
