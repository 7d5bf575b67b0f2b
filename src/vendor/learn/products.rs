//! Contents of a simplestreams document, as far as they say what a file is: path, length and digests, which products and versions may give for
//! all below them.
//!
//! A document is walked through, never built in memory: its author would decide how much memory that takes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::vendor::aliases::Aliases;
use crate::vendor::sum::{Sum, SumAlgorithm};
use crate::vendor::sums::FoundSums;

/// Longest text that is kept.
const TEXT_BYTES_MAX: usize = 1024;

/// Names of the levels below a document.
const LEVELS: [&str; 3] = ["products", "versions", "items"];

/// Attributes that are in force at a level.
#[derive(Clone, Default)]
struct Facts {
    /// Names of the objects above and at the level.
    names: Vec<String>,
    path: Option<String>,
    size: Option<u64>,
    digests: [Option<Sum>; 4],
}

/// A file that a document names.
pub(super) struct ProductFile<'a> {
    pub(super) product: &'a str,
    pub(super) version: &'a str,
    pub(super) path: &'a str,
    pub(super) sums: FoundSums,
}

/// Hands over the files of a document. Everything behind a fault in an object is passed over.
pub(super) fn walk(document: &[u8], mut each: impl FnMut(ProductFile<'_>)) {
    let Ok(text) = std::str::from_utf8(document) else { return };
    let Ok(root) = serde_json::from_str::<&RawValue>(text) else { return };
    let aliases = aliases(root);
    // A document that ends in the middle named its first files all the same.
    let _ = descend(root, 0, &Facts::default(), &aliases, &mut each);
}

/// Time of a document, in its own words.
pub(super) fn updated(document: &[u8]) -> Option<String> {
    let root = serde_json::from_str::<&RawValue>(std::str::from_utf8(document).ok()?).ok()?;
    let mut found = None;
    let _ = entries(root, |name, value| {
        if name == "updated" {
            found = serde_json::from_str::<String>(value.get()).ok().filter(|text| text.len() <= TEXT_BYTES_MAX);
        }
        Ok(())
    });
    found
}

fn aliases(root: &RawValue) -> Aliases {
    let mut found = Aliases::default();
    let _ = entries(root, |name, value| {
        if name == "_aliases" {
            found = Aliases::read(value.get());
        }
        Ok(())
    });
    found
}

/// Walks through an object of a level: its own attributes first, wherever they stand in it, then what is below.
fn descend(
    object: &RawValue,
    level: usize,
    above: &Facts,
    aliases: &Aliases,
    each: &mut dyn FnMut(ProductFile<'_>),
) -> serde_json::Result<()> {
    let mut facts = above.clone();
    // By attribute, so that no document says how many there are.
    let (mut own, mut meant, mut below) = (BTreeSet::new(), BTreeMap::new(), None);
    entries(object, |name, value| {
        if LEVELS.get(level) == Some(&name.as_ref()) {
            below = Some(value);
            return Ok(());
        }
        own.extend(facts.set(&name, value.get()));
        if let Some(attribute) = aliases.attributes().find(|attribute| *attribute == name) {
            let key: Option<String> = serde_json::from_str(value.get()).ok();
            meant.insert(attribute, key.and_then(|key| aliases.meant(attribute, &key)));
        }
        Ok(())
    })?;
    for (name, value) in meant.into_values().flatten().flatten() {
        if !own.contains(name.as_str()) {
            facts.set(name, &value.to_string());
        }
    }
    match below {
        Some(objects) => entries(objects, |name, value| {
            if name.len() > TEXT_BYTES_MAX {
                return Ok(());
            }
            facts.names.truncate(level);
            facts.names.push(name.into_owned());
            descend(value, level + 1, &facts, aliases, each)
        }),
        None if level == LEVELS.len() => {
            facts.hand_over(each);
            Ok(())
        }
        None => Ok(()),
    }
}

impl Facts {
    /// Takes an attribute in, as JSON, and gives its name if it is one of these facts. One that can't be what it is named leaves the file
    /// without it: what is inherited is not meant then.
    fn set(&mut self, name: &str, value: &str) -> Option<&'static str> {
        let text = || serde_json::from_str::<String>(value).ok().filter(|text| text.len() <= TEXT_BYTES_MAX);
        if let Some(at) = SumAlgorithm::ALL.iter().position(|algorithm| algorithm.name() == name) {
            let algorithm = SumAlgorithm::ALL[at];
            let digest = text().and_then(|text| Sum::of_hex(&text));
            self.digests[at] = digest.filter(|sum| sum.algorithm() == algorithm);
            return Some(algorithm.name());
        }
        match name {
            "path" => {
                self.path = text();
                Some("path")
            }
            "size" => {
                // Some write it as text.
                self.size = value.trim_matches('"').parse().ok();
                Some("size")
            }
            _ => None,
        }
    }

    fn hand_over(self, each: &mut dyn FnMut(ProductFile<'_>)) {
        let sums: Vec<Sum> = self.digests.into_iter().flatten().collect();
        let ([product, version, ..], Some(path)) = (&*self.names, &self.path) else { return };
        if !sums.is_empty() {
            each(ProductFile { product, version, path, sums: FoundSums { sums, size: self.size } });
        }
    }
}

/// Hands over the entries of an object, one after the other.
fn entries<'a>(
    object: &'a RawValue,
    each: impl FnMut(Cow<'a, str>, &'a RawValue) -> serde_json::Result<()>,
) -> serde_json::Result<()> {
    Entries(each).deserialize(&mut serde_json::Deserializer::from_str(object.get()))
}

struct Entries<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue) -> serde_json::Result<()>> DeserializeSeed<'de> for Entries<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue) -> serde_json::Result<()>> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
            (self.0)(name, value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// Name of an entry, borrowed when it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
