//! Aliases of simplestreams: values of attributes that stand for other attributes, by `_aliases` of a document. Pure.
//!
//! One rule for all readers: an attribute that a thing has itself goes before one that an alias of its own stands for, and that before what is
//! inherited from above.

use std::collections::BTreeMap;

use serde_json::Value;

/// Most bytes of the aliases of a document, which are built in memory.
const BYTES_MAX: usize = 64 << 10;

/// Attributes that a value stands for.
pub(super) type Meant = BTreeMap<String, Value>;

/// Aliases by attribute, and by its value.
#[derive(Debug, Default)]
pub(super) struct Aliases(BTreeMap<String, BTreeMap<String, Meant>>);

impl Aliases {
    /// Reads `_aliases`. None are meant by what is too much, or has not their form.
    pub(super) fn read(text: &str) -> Self {
        let is_short = text.len() <= BYTES_MAX;
        is_short.then(|| serde_json::from_str(text).ok()).flatten().map(Self).unwrap_or_default()
    }

    /// Attributes whose values may stand for others.
    pub(super) fn attributes(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Attributes that a value of an attribute stands for.
    pub(super) fn meant(&self, attribute: &str, value: &str) -> Option<&Meant> {
        self.0.get(attribute)?.get(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_are_bounded() {
        let of = |text: &str| Aliases::read(text).meant("src", "main").is_some();
        let good = r#"{"src":{"main":{"arch":"arm64"}}}"#;
        assert!(of(good));
        assert!(!of(&format!("{good}{}", " ".repeat(BYTES_MAX))));
        assert!(!of("{") && !of(r#"{"src":{"main":"arm64"}}"#));
        assert_eq!(Aliases::read(good).attributes().collect::<Vec<_>>(), ["src"]);
    }
}
