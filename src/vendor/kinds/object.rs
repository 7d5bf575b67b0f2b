//! Objects of large JSON documents: a table of the texts in them, and attributes that are inherited from one level to the next. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::vendor::aliases::Aliases;

/// Most members of an object: more would be memory that the author of a document decides on.
const MEMBERS_MAX: usize = 50_000;

/// Longest attribute, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// An object, of which nothing below is read yet.
#[derive(Default)]
pub(super) struct JsonObject<'a>(BTreeMap<String, &'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for JsonObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = JsonObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject<'de>, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if members.len() == MEMBERS_MAX {
                return Err(A::Error::custom(format_args!("an object has more than {MEMBERS_MAX} members")));
            }
            members.insert(name, value);
        }
        Ok(JsonObject(members))
    }
}

impl<'a> JsonObject<'a> {
    /// Reads an object.
    pub(super) fn read(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The object that is a member.
    pub(super) fn below(&self, name: &str) -> serde_json::Result<Option<Self>> {
        self.0.get(name).map(|value| Self::read(value.get())).transpose()
    }

    /// The aliases of a document.
    pub(super) fn aliases(&self) -> Aliases {
        self.0.get("_aliases").map(|value| Aliases::read(value.get())).unwrap_or_default()
    }

    /// The objects that are its members, by name.
    pub(super) fn members(&self) -> impl Iterator<Item = serde_json::Result<(&str, Self)>> {
        self.0.iter().map(|(name, value)| Ok((name.as_str(), Self::read(value.get())?)))
    }

    /// Names of its members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// An attribute; a number or a truth as its text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.0.get(name).map(|value| value.get()).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str(text).ok(),
            b'{' | b'[' | b'n' => None,
            _ => Some(text.to_owned()),
        }
    }
}

/// Attributes of a thing, with those of the levels above that it does not have itself.
#[derive(Clone)]
pub(super) struct Attributes<'a, 'b> {
    /// Values that others stand for, by attribute and value: `_aliases` of the document.
    aliases: &'b Aliases,
    levels: Vec<&'b JsonObject<'a>>,
}

impl<'a, 'b> Attributes<'a, 'b> {
    /// Attributes of a document.
    pub(super) fn of(document: &'b JsonObject<'a>, aliases: &'b Aliases) -> Self {
        Self { aliases, levels: vec![document] }
    }

    /// Attributes of a thing below.
    pub(super) fn and(&self, below: &'b JsonObject<'a>) -> Self {
        let mut levels = self.levels.clone();
        levels.push(below);
        Self { levels, aliases: self.aliases }
    }

    /// An attribute: the nearest one.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.levels.iter().rev().find_map(|level| level.text(name).or_else(|| self.meant(level, name)))
    }

    /// An attribute that another one of a level stands for.
    fn meant(&self, level: &JsonObject<'_>, name: &str) -> Option<String> {
        self.aliases.attributes().find_map(|attribute| {
            let meant = self.aliases.meant(attribute, &level.text(attribute)?)?;
            match meant.get(name)? {
                Value::String(text) => Some(text.clone()),
                other @ (Value::Number(_) | Value::Bool(_)) => Some(other.to_string()),
                Value::Null | Value::Array(_) | Value::Object(_) => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_inherited_and_aliases_expanded() {
        let text = r#"{"_aliases":{"src":{"main":{"arch":"arm64","md5":"m"}}},"os":"x","size":7,"on":true,
            "products":{"p":{"src":"main","arch":null,"deep":{"a":1}}}}"#;
        let top = JsonObject::read(text).unwrap();
        let aliases = top.aliases();
        let products = top.below("products").unwrap().unwrap();
        let (name, product) = products.members().next().unwrap().unwrap();
        assert_eq!((name, products.names().count()), ("p", 1));
        let all = Attributes::of(&top, &aliases);
        let of = all.and(&product);
        let read = |name: &str| of.text(name).unwrap_or_default();
        assert_eq!((read("arch").as_str(), read("os").as_str(), read("md5").as_str()), ("arm64", "x", "m"));
        assert_eq!((read("size").as_str(), read("on").as_str(), read("deep").as_str()), ("7", "true", ""));
        assert_eq!(all.text("arch"), None, "nothing is inherited upwards");
        let own = JsonObject::read(r#"{"src":"main","arch":"s390x"}"#).unwrap();
        assert_eq!(of.and(&own).text("arch").as_deref(), Some("s390x"), "its own goes before what an alias stands for");
    }

    #[test]
    fn objects_have_bounds() {
        let many =
            |count: usize| format!("{{{}}}", (0..count).map(|n| format!("\"{n}\":0")).collect::<Vec<_>>().join(","));
        assert!(JsonObject::read(&many(MEMBERS_MAX)).is_ok());
        assert!(JsonObject::read(&many(MEMBERS_MAX + 1)).is_err());
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(TEXT_BYTES_MAX));
        assert_eq!(JsonObject::read(&long).unwrap().text("a"), None);
        assert!(JsonObject::read("[]").is_err() && JsonObject::read("{\"a\":").is_err());
    }
}
