//! `metadata.yaml` as it is written: its fields with zeros for what it does not say, as in LXD, and the text of one.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::BundleError;
use super::architecture::kernel_name;
use super::yaml::{self, Decoder, Node, Refusal};
use crate::image::{Architecture, Timestamp};

/// Characters of the sender's text that an error repeats.
const MOST_WORDS: usize = 200;

/// Longest name that is written as a plain key, for which YAML allows 1024 characters.
const SIMPLE_KEY: usize = 512;

/// The fields of a `metadata.yaml`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WrittenManifest {
    pub(super) architecture: String,
    pub(super) creation_date: i64,
    pub(super) expiry_date: i64,
    pub(super) properties: BTreeMap<String, String>,
    /// Templates by the files that they become. They matter only to the server that runs the image, and stop it there.
    templates: BTreeMap<String, Template>,
}

/// A template of a file in a container.
#[derive(Debug, Default, PartialEq, Eq)]
struct Template {
    when: Vec<String>,
    create_only: bool,
    template: String,
    properties: BTreeMap<String, String>,
}

impl WrittenManifest {
    /// Reads it as LXD does: the first document, unknown names left out.
    ///
    /// # Errors
    /// It is no such YAML, or too much of it.
    pub(super) fn parse(yaml: &[u8]) -> Result<Self, Refusal> {
        let document = yaml::parse(yaml)?.ok_or_else(|| "it is empty".to_owned())?;
        let mut written = Self::default();
        if !document.is_null() {
            written.read(&mut Decoder::default(), &document)?;
        }
        Ok(written)
    }

    fn read(&mut self, decoder: &mut Decoder, node: &Node) -> Result<(), Refusal> {
        decoder.entries(node, &mut |decoder, name, value| {
            match name.as_str() {
                "architecture" => self.architecture = decoder.text(value)?,
                "creation_date" => self.creation_date = decoder.integer(value)?,
                "expiry_date" => self.expiry_date = decoder.integer(value)?,
                // A second map adds to the first.
                "properties" if value.is_null() => self.properties.clear(),
                "properties" => decoder.texts(value, &mut self.properties)?,
                "templates" if value.is_null() => self.templates.clear(),
                "templates" => decoder.entries(value, &mut |decoder, path, value| {
                    self.templates.insert(path, Template::read(decoder, value)?);
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })
    }
}

impl Template {
    fn read(decoder: &mut Decoder, node: &Node) -> Result<Self, Refusal> {
        let mut read = Self::default();
        if node.is_null() {
            return Ok(read);
        }
        decoder.entries(node, &mut |decoder, name, value| {
            match name.as_str() {
                "when" => {
                    read.when.clear();
                    if !value.is_null() {
                        decoder.items(value, &mut |decoder, item| {
                            read.when.push(decoder.text(item)?);
                            Ok(())
                        })?;
                    }
                }
                "create_only" => read.create_only = decoder.flag(value)?,
                "template" => read.template = decoder.text(value)?,
                "properties" if value.is_null() => read.properties.clear(),
                "properties" => decoder.texts(value, &mut read.properties)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(read)
    }
}

/// A `metadata.yaml` with this in it, always in the same words. Whole seconds; what is before 1970 becomes its first one,
/// because 0 would mean nothing to LXD.
pub fn metadata_yaml(
    architecture: Architecture,
    created_at: Timestamp,
    properties: &BTreeMap<String, String>,
) -> String {
    let architecture = kernel_name(architecture);
    let mut text = format!("architecture: {architecture}\ncreation_date: {}\n", created_at.seconds().max(1));
    write_map(&mut text, 0, "properties", properties);
    text
}

/// A `metadata.yaml` with other properties, if some are given, or another end. Unknown names are left out, as in LXD.
///
/// # Errors
/// It is no such YAML.
pub fn rewritten(
    yaml: &[u8],
    properties: Option<&BTreeMap<String, String>>,
    expires_at: Option<Timestamp>,
) -> Result<String, BundleError> {
    let written = WrittenManifest::parse(yaml).map_err(|why| BundleError::Yaml(short(&why)))?;
    let mut text =
        format!("architecture: {}\ncreation_date: {}\n", quoted(&written.architecture), written.creation_date);
    let expiry_date = expires_at.map_or(written.expiry_date, |end| end.seconds());
    if expiry_date != 0 {
        // Writing to a string can't fail, here and below.
        let _ = writeln!(text, "expiry_date: {expiry_date}");
    }
    write_map(&mut text, 0, "properties", properties.unwrap_or(&written.properties));
    if !written.templates.is_empty() {
        text.push_str("templates:\n");
    }
    for (path, Template { when, create_only, template, properties }) in &written.templates {
        let when: Vec<_> = when.iter().map(|event| quoted(event)).collect();
        write_key(&mut text, 2, path);
        let _ = write!(
            text,
            "\n    when: [{}]\n    create_only: {create_only}\n    template: {}\n",
            when.join(", "),
            quoted(template)
        );
        write_map(&mut text, 4, "properties", properties);
    }
    Ok(text)
}

fn write_map(text: &mut String, indent: usize, name: &str, map: &BTreeMap<String, String>) {
    text.push_str(&format!("{:indent$}{name}:{}\n", "", if map.is_empty() { " {}" } else { "" }));
    for (name, value) in map {
        write_key(text, indent + 2, name);
        text.push_str(&format!(" {}\n", quoted(value)));
    }
}

/// A key with its colon; a long one needs a mark.
fn write_key(text: &mut String, indent: usize, name: &str) {
    let name = quoted(name);
    text.push_str(&if name.len() > SIMPLE_KEY {
        format!("{:indent$}? {name}\n{:indent$}:", "", "")
    } else {
        format!("{:indent$}{name}:", "")
    });
}

/// Text in double quotes that says the same in every version of YAML: they differ on which characters end a line and on
/// which may stand for themselves, so only letters, digits and what ASCII can print do.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => drop(write!(quoted, "\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Cuts foreign text to one short line.
pub(super) fn short(words: &str) -> String {
    words.chars().take(MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
architecture: amd64
creation_date: 1700000000
properties: {os: Debian}
unknown: x
templates:
  /etc/hosts: {when: [create, copy], create_only: yes, template: hosts.tpl, properties: {a: 'b: c'}}
  /etc/\"odd\": {template: odd.tpl}
  /etc/nothing:
";

    #[test]
    fn other_properties_leave_the_rest() {
        let given = BTreeMap::from([("release".to_owned(), "13\n".to_owned()), ("x".repeat(600), String::new())]);
        let end = Timestamp(1_800_000_000_000_000);
        let text = rewritten(YAML.as_bytes(), Some(&given), Some(end)).unwrap();
        let (before, after) =
            (WrittenManifest::parse(YAML.as_bytes()).unwrap(), WrittenManifest::parse(text.as_bytes()).unwrap());
        assert_eq!((before.expiry_date, after.expiry_date), (0, 1_800_000_000));
        assert_eq!(
            (before.templates.len(), &before.templates["/etc/hosts"].when[..]),
            (3, &["create".to_owned(), "copy".to_owned()][..])
        );
        assert_eq!(after, WrittenManifest { properties: given, expiry_date: 1_800_000_000, ..before });
        // What is not given stays.
        let text = rewritten(YAML.as_bytes(), None, None).unwrap();
        assert_eq!(WrittenManifest::parse(text.as_bytes()), WrittenManifest::parse(YAML.as_bytes()));
        let text = rewritten(YAML.as_bytes(), Some(&BTreeMap::new()), None).unwrap();
        assert!(WrittenManifest::parse(text.as_bytes()).unwrap().properties.is_empty());
        assert!(rewritten(b"[]", None, None).is_err());
    }
}
