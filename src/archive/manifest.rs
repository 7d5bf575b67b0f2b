//! `metadata.yaml`: what an image says of itself.

use std::collections::BTreeMap;

use super::BundleError;
use super::architecture::read_lxd_name;
use super::written::{WrittenManifest, short};
use crate::image::{Architecture, Timestamp};

/// Largest manifest. No image has a larger one.
pub(super) const MOST_BYTES: u64 = 1 << 20;

/// The first second that LXD writes dates for, that of the year 1.
const FIRST_SECOND: i64 = -62_135_596_800;

/// The last second of the year 9999, the last one that dates are written for.
const LAST_SECOND: i64 = 253_402_300_799;

/// The last second that dates are written for here, one day earlier: any later one means "never", and is this one.
const LAST_WRITTEN: i64 = 253_402_207_200;

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

impl Manifest {
    /// Reads it as LXD does: the first document, unknown names left out.
    ///
    /// # Errors
    /// It is no such YAML, or too much of it; it does not say when the image was made or for which processor.
    pub(super) fn parse(yaml: &[u8]) -> Result<Self, BundleError> {
        let written = WrittenManifest::parse(yaml).map_err(|why| BundleError::Yaml(short(&why)))?;
        Ok(Self {
            architecture: read_lxd_name(&written.architecture)
                .ok_or_else(|| BundleError::Architecture(short(&written.architecture)))?,
            created_at: moment(written.creation_date)?.ok_or(BundleError::NoCreationDate)?,
            expires_at: moment(written.expiry_date)?,
            properties: written.properties,
        })
    }
}

fn moment(seconds: i64) -> Result<Option<Timestamp>, BundleError> {
    match seconds {
        0 => Ok(None),
        FIRST_SECOND..=LAST_SECOND => Ok(Some(Timestamp(seconds.min(LAST_WRITTEN) * 1_000_000))),
        _ => Err(BundleError::Yaml("a date in it is out of range".to_owned())),
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
        // As Go's library has it: without what is behind the point, and in every base.
        assert_eq!(dates("1424284563.9", "-1.5").unwrap(), (moment(1_424_284_563), Some(moment(-1))));
        assert_eq!(dates("0x10", "1_000").unwrap(), (moment(16), Some(moment(1000))));
        assert_eq!(dates("253402300799", "~").unwrap(), (moment(LAST_WRITTEN), None));
        assert_eq!(dates("-62135596800", "").unwrap(), (moment(FIRST_SECOND), None));
        for missing in ["0", "", "~", "0.5"] {
            assert!(matches!(dates(missing, "1"), Err(BundleError::NoCreationDate)), "{missing}");
        }
        let far = ["-62135596801", "253402300800", "9223372036854775807", "9223372036854775808", ".inf"];
        for wrong in far.into_iter().chain(["'1424284563'", "today", "2024-01-01", "true", "[1]"]) {
            for (creation, expiry) in [(wrong, "1"), ("1", wrong)] {
                let words = dates(creation, expiry).unwrap_err().to_string();
                assert!(words.starts_with("metadata.yaml can't be parsed: "), "{words}");
            }
        }
    }

    #[test]
    fn what_is_no_manifest() {
        for yaml in [
            "- 1",
            "text",
            "{",
            "properties: text",
            "properties: [1]",
            "properties: {a: {b: c}}",
            "properties: {a: *x}",
            "? [a]\n: b",
            "%YAML 1.2\n--- {}",
            "%OTHER x\n--- {}",
            "<<: text",
            "<<: [text]",
            "a: \u{7}",
            "a: !!int b\narchitecture: !!int b",
            "templates: text",
            "templates: {a: text}",
            "templates: {a: {when: text}}",
            "templates: {a: {create_only: 'yes'}}",
            "templates: {a: {template: [b]}}",
            "templates: {a: {properties: {b: [c]}}}",
        ] {
            let words = refusal(yaml);
            assert!(words.starts_with("metadata.yaml can't be parsed: ") && words.lines().count() == 1, "{words}");
        }
        for (yaml, words) in [
            ("creation_date: today", "'today' is not a number of seconds"),
            ("architecture: [a]", "a list is not a text"),
            ("properties: &x {a: *x}", "an alias for what it is in is not a text"),
        ] {
            assert_eq!(refusal(yaml), format!("metadata.yaml can't be parsed: {words}"));
        }
        assert_eq!(refusal(""), "metadata.yaml can't be parsed: it is empty");
        assert!(Manifest::parse(b"architecture: \xff").unwrap_err().to_string().ends_with("it is not UTF-8"));
    }

    #[test]
    fn what_stands_twice_counts_as_in_go() {
        let manifest =
            parse("architecture: aarch64\ncreation_date: 5\nproperties: {a: 1, b: 1, a: 2}\nproperties: {c: 3}")
                .unwrap();
        assert_eq!((manifest.architecture, manifest.created_at), (Architecture::Aarch64, Timestamp(5_000_000)));
        let pairs = |text: &str| {
            parse(text).unwrap().properties.into_iter().map(|(name, value)| name + "=" + &value).collect::<Vec<_>>()
        };
        assert_eq!(pairs("properties: {a: 1, b: 1, a: 2}\nproperties: {c: 3}"), ["a=2", "b=1", "c=3"]);
        assert_eq!(pairs("properties: {a: 1}\nproperties: ~"), [""; 0]);
        // Of what is merged, as well: later names win, and the first of several maps.
        let maps = "x: &x {a: 1, b: 2}\ny: &y {b: 4, c: 5}\nproperties: ";
        assert_eq!(pairs(&format!("{maps}{{<<: *x, b: 3}}")), ["a=1", "b=3"]);
        assert_eq!(pairs(&format!("{maps}{{b: 3, <<: *x}}")), ["a=1", "b=2"]);
        assert_eq!(pairs(&format!("{maps}{{<<: [*x, *y]}}")), ["a=1", "b=2", "c=5"]);
        assert_eq!(pairs("properties: {'<<': a}"), ["<<=a"]);
        assert_eq!(parse("<<: {architecture: aarch64}").unwrap().architecture, Architecture::Aarch64);
    }

    #[test]
    fn only_the_first_document_counts() {
        for rest in ["---\narchitecture: aarch64\n", "...\n{{{\n", "---\n{{{\n", "..."] {
            assert_eq!(parse(rest).unwrap().architecture, Architecture::X86_64, "{rest}");
        }
        assert_eq!(refusal("---\n---\narchitecture: x86_64\ncreation_date: 1"), "The architecture '' is not known.");
        for before in ["---\n", "%YAML 1.1\n---\n", "# hello\n%TAG !e! tag:example.com,2000:\n---\n", "\u{feff}"] {
            assert!(
                Manifest::parse(format!("{before}architecture: x86_64\ncreation_date: 1").as_bytes()).is_ok(),
                "{before:?}"
            );
        }
    }

    #[test]
    fn texts_may_be_in_any_encoding_and_on_any_lines() {
        let text = "architecture: x86_64\ncreation_date: 1\nproperties: {a: Größe 😀}";
        for units in [
            text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
            text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ] {
            let mark = if units[0] == 0 { [0xfe, 0xff] } else { [0xff, 0xfe] };
            let utf16 = [&mark[..], &units].concat();
            assert_eq!(Manifest::parse(&utf16).unwrap().properties["a"], "Größe 😀");
            assert!(Manifest::parse(&utf16[..utf16.len() - 1]).is_err());
        }
        for end in ["\r", "\r\n", "\u{85}"] {
            assert!(Manifest::parse(text.replace('\n', end).as_bytes()).is_ok(), "{end:?}");
        }
        let yaml = "properties:\n  a: |\n    one\n    two\n  b: \"one\\ntwo\\t\"\n";
        let properties = parse(yaml).unwrap().properties;
        assert_eq!((properties["a"].as_str(), properties["b"].as_str()), ("one\ntwo\n", "one\ntwo\t"));
    }

    /// Each of these is within the size that is allowed.
    #[test]
    fn yaml_that_grows() {
        let laughs: String =
            (1..30).map(|n| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
        let merges: String =
            (1..30).map(|n| format!("a{n}: &a{n} {{<<: [{}]}}\n", format!("*a{},", n - 1).repeat(9))).collect();
        let anchor = format!("x: &x \"{}\"\nproperties:\n", "x".repeat(500_000));
        let aliases: String = (0..1000).map(|n| format!("  p{n}: *x\n")).collect();
        for yaml in [
            format!("a0: &a0 [x]\n{laughs}properties: *a29"),
            format!("{anchor}{aliases}"),
            format!("properties: &p\n  <<: [{}]", "*p,".repeat(10_000)),
            format!("a0: &a0 {{x: y}}\n{merges}properties: *a29"),
            format!("x: {}", "[".repeat(500_000)),
            format!("x: {}", "{a: ".repeat(200_000)),
            format!("x:\n  {}a", "- ".repeat(400_000)),
            format!("x:\n  {}a", "? ".repeat(400_000)),
            format!("x: [{}]", "1,".repeat(400_000)),
            format!("x: [{}]", "&a ,".repeat(200_000)),
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
