//! `metadata.yaml`: what an image says of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_saphyr::{Options, alias_limits, budget, options};

use super::BundleError;
use crate::image::{Architecture, Timestamp};

/// Largest manifest. No image has a larger one.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// The last second of the year 9999, the last one that dates are written for.
const LAST_SECOND: i64 = 253_402_300_799;

/// Characters of the sender's text that an error repeats.
const MOST_WORDS: usize = 200;

/// Longest name of a property that is written as a plain key, for which YAML allows 1024 characters.
const SIMPLE_KEY: usize = 512;

/// The description in an image, as far as it matters here. Templates matter only to the server that runs the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The processor it is for.
    pub architecture: Architecture,
    /// Time at which the image was built.
    pub created_at: Timestamp,
    /// Time after which the image is out of date.
    pub expires_at: Option<Timestamp>,
    /// Whatever else its maker had to say.
    pub properties: BTreeMap<String, String>,
}

/// The manifest as it is written. Numbers and other scalars among the properties keep their spelling.
#[derive(Deserialize)]
struct WrittenManifest {
    architecture: Option<String>,
    creation_date: Option<i64>,
    expiry_date: Option<i64>,
    properties: Option<BTreeMap<String, Option<String>>>,
}

impl Manifest {
    /// Reads it. Unknown fields are left out; duplicate ones are refused, since readers differ on which one counts.
    ///
    /// # Errors
    /// It is no such YAML, or too much of it; it does not say when the image was made or for which processor.
    pub(super) fn parse(yaml: &[u8]) -> Result<Self, BundleError> {
        let text = std::str::from_utf8(yaml).map_err(|_| BundleError::Yaml("it is not UTF-8".to_owned()))?;
        let written: Option<WrittenManifest> = serde_saphyr::from_str_with_options(text, budgets())
            .map_err(|error| BundleError::Yaml(words_of(error.without_snippet())))?;
        let written = written.ok_or_else(|| BundleError::Yaml("it is empty".to_owned()))?;
        let architecture = written.architecture.unwrap_or_default();
        let properties = written.properties.unwrap_or_default();
        Ok(Self {
            architecture: Architecture::parse(&architecture)
                .ok_or_else(|| BundleError::Architecture(short(&architecture)))?,
            created_at: moment(written.creation_date)?.ok_or(BundleError::NoCreationDate)?,
            expires_at: moment(written.expiry_date)?,
            properties: properties.into_iter().map(|(name, value)| (name, value.unwrap_or_default())).collect(),
        })
    }
}

/// The name of a processor that kernels and LXD have for it.
pub const fn kernel_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::I386 => "i686",
        other => other.name(),
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
    text.push_str(if properties.is_empty() { "properties: {}\n" } else { "properties:\n" });
    for (name, value) in properties {
        let (name, value) = (quoted(name), quoted(value));
        let long = name.len() > SIMPLE_KEY;
        text.push_str(&if long { format!("  ? {name}\n  : {value}\n") } else { format!("  {name}: {value}\n") });
    }
    text
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
            // Writing to a string can't fail.
            c => drop(write!(quoted, "\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

fn moment(seconds: Option<i64>) -> Result<Option<Timestamp>, BundleError> {
    match seconds {
        None | Some(0) => Ok(None),
        Some(seconds @ 1..=LAST_SECOND) => Ok(Some(Timestamp(seconds * 1_000_000))),
        Some(_) => Err(BundleError::Yaml("a date in it is out of range".to_owned())),
    }
}

/// Says what is wrong with a manifest, and where. The parser's own words are for its programmers.
fn words_of(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    let what = match error {
        E::DuplicateMappingKey { .. } => "a duplicate key",
        E::MultipleDocuments { .. } => "more than one document",
        E::Budget { .. }
        | E::AliasReplayCounterOverflow { .. }
        | E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => "it has more in it than any description needs",
        E::SerdeInvalidType { .. }
        | E::SerdeInvalidValue { .. }
        | E::SerdeInvalidLength { .. }
        | E::InvalidScalar { .. }
        | E::Unexpected { .. }
        | E::NullIntoString { .. } => "a value of the wrong kind",
        _ => "it is not YAML",
    };
    match error.location() {
        Some(location) => format!("{what}, at line {}", location.line()),
        None => what.to_owned(),
    }
}

/// Cuts foreign text to one short line.
fn short(words: &str) -> String {
    words.chars().take(MOST_WORDS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Far more than any image needs, and nothing that takes long.
fn budgets() -> Options {
    options! {
        budget: budget! {
            max_documents: 1,
            max_depth: 32,
            flow_nesting_limit: 32,
            max_nodes: 50_000,
            max_events: 150_000,
            max_anchors: 100,
            max_aliases: 100,
            max_recorded_anchor_events: 10_000,
            max_recorded_anchor_bytes: 1 << 20,
            max_total_scalar_bytes: 2 << 20,
            max_merge_keys: 100,
        },
        alias_limits: alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 32,
            max_alias_expansions_per_anchor: 100,
        },
        with_snippet: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Manifest, BundleError> {
        Manifest::parse(format!("architecture: x86_64\ncreation_date: 1\n{rest}").as_bytes())
    }

    fn refusal(yaml: &str) -> String {
        Manifest::parse(yaml.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn properties_are_taken_as_they_are_spelt() {
        let yaml = "
properties:
  release: 13
  version: 1.10
  serial: 20240101
  flag: true
  word: yes
  date: 2024-01-01
  octal: 007
  nothing:
  none: null
  tilde: ~
  quoted: '~'
  folded: >
    two
    lines
  13: thirteen
  again: &again text
  same: *again
templates:
  /etc/hostname: {when: [create, copy], template: hostname.tpl, properties: {a: b}}
unknown: [1, {2: 3}]
";
        let expected = [
            ("release", "13"),
            ("version", "1.10"),
            ("serial", "20240101"),
            ("flag", "true"),
            ("word", "yes"),
            ("date", "2024-01-01"),
            ("octal", "007"),
            ("nothing", ""),
            ("none", ""),
            ("tilde", ""),
            ("quoted", "~"),
            ("folded", "two lines\n"),
            ("13", "thirteen"),
            ("again", "text"),
            ("same", "text"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(parse(yaml).unwrap().properties, BTreeMap::from(expected));
        for none in ["", "properties:", "properties: {}", "properties: ~"] {
            assert!(parse(none).unwrap().properties.is_empty());
        }
    }

    #[test]
    fn a_processor_is_known_by_all_of_its_names() {
        for (word, architecture) in
            [("amd64", Architecture::X86_64), ("aarch64", Architecture::Aarch64), ("i686", Architecture::I386)]
        {
            let yaml = format!("architecture: {word}\ncreation_date: 1");
            assert_eq!(Manifest::parse(yaml.as_bytes()).unwrap().architecture, architecture);
        }
        assert_eq!(refusal("creation_date: 1"), "The architecture '' is not known.");
        assert_eq!(refusal("architecture: ~\ncreation_date: 1"), "The architecture '' is not known.");
        assert_eq!(refusal("architecture: pdp11\ncreation_date: 1"), "The architecture 'pdp11' is not known.");
        let long = refusal(&format!("architecture: \"{}\\n\"\ncreation_date: 1", "x".repeat(5000)));
        assert!(long.len() < 250 && !long.contains('\n'), "{long}");
    }

    #[test]
    fn dates_are_seconds() {
        let dates = |creation: &str, expiry: &str| {
            let yaml = format!("architecture: x86_64\ncreation_date: {creation}\nexpiry_date: {expiry}");
            Manifest::parse(yaml.as_bytes()).map(|manifest| (manifest.created_at, manifest.expires_at))
        };
        let moment = |seconds| Timestamp(seconds * 1_000_000);
        assert_eq!(dates("1424284563", "0").unwrap(), (moment(1_424_284_563), None));
        assert_eq!(dates("'1424284563'", "2").unwrap(), (moment(1_424_284_563), Some(moment(2))));
        assert_eq!(dates("253402300799", "~").unwrap(), (moment(LAST_SECOND), None));
        for missing in ["0", "", "~"] {
            assert!(matches!(dates(missing, "1"), Err(BundleError::NoCreationDate)), "{missing}");
        }
        for wrong in ["-1", "253402300800", "9223372036854775807", "9223372036854775808", "1.5", "today", "[1]"] {
            for (creation, expiry) in [(wrong, "1"), ("1", wrong)] {
                let words = dates(creation, expiry).unwrap_err().to_string();
                assert!(words.starts_with("metadata.yaml can't be parsed: "), "{words}");
            }
        }
    }

    #[test]
    fn what_is_no_manifest() {
        for yaml in
            ["- 1", "text", "a: b\n---\nc: d", "{", "properties: text", "properties: [1]", "properties: {a: {b: c}}"]
        {
            let words = refusal(yaml);
            assert!(words.starts_with("metadata.yaml can't be parsed: ") && words.lines().count() == 1, "{words}");
        }
        assert_eq!(refusal(""), "metadata.yaml can't be parsed: it is empty");
        assert!(Manifest::parse(b"architecture: \xff").unwrap_err().to_string().ends_with("it is not UTF-8"));
        for twice in ["architecture: x86_64", "creation_date: 2", "properties: {a: 1, a: 2}"] {
            assert!(parse(twice).unwrap_err().to_string().contains("duplicate"), "{twice}");
        }
    }

    /// Each of these is within the size that is allowed.
    #[test]
    fn yaml_that_grows() {
        let laughs: String =
            (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
        let anchor = format!("x: &x \"{}\"\nproperties:\n", "x".repeat(500_000));
        let aliases: String = (0..1000).map(|n| format!("  p{n}: *x\n")).collect();
        for yaml in [
            format!("a0: &a0 [x]\n{laughs}properties: *a29"),
            format!("{anchor}{aliases}"),
            format!("properties: &p\n  <<: [{}]", "*p,".repeat(10_000)),
            format!("x: {}", "[".repeat(500_000)),
            format!("x: {}", "{a: ".repeat(200_000)),
            format!("x:\n  {}a", "- ".repeat(400_000)),
            format!("x:\n  {}a", "? ".repeat(400_000)),
            format!("x: [{}]", "1,".repeat(400_000)),
            format!("x: [{}]", "&a ,".repeat(200_000)),
            "---\n".repeat(200_000),
            format!("x: {}", "!".repeat(900_000)),
            format!("x: \"{}", "\\".repeat(900_000)),
        ] {
            assert!(yaml.len() <= 1 << 20);
            let found = parse(&yaml);
            assert!(found.is_err(), "{}", &yaml[..40]);
            assert!(found.unwrap_err().to_string().len() < 300);
        }
        for yaml in
            [format!("#{}", "x".repeat(1_000_000)), "#\n".repeat(500_000), format!("x: {}", "a ".repeat(500_000))]
        {
            assert!(parse(&yaml).is_ok(), "{}", &yaml[..10]);
        }
    }
}
