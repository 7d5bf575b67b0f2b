//! Names of vendors' images: `vendor/release[@schematic][:build][+variant][@sha256:…]`.
//!
//! A grammar only: which vendors and releases there are is the catalogue's and the vendor's own lists' to say.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::sum::Sum;
use crate::error::{Error, shown};

/// Longest name, in bytes.
const NAME_MAX: usize = 384;

/// Form of a name, in words.
const FORM: &str = "A name is vendor/release[:build][+variant], such as debian/13.";

/// Words for the newest release, where a vendor has none that is called so.
pub(super) const NEWEST: [&str; 2] = ["latest", "stable"];

/// The name of an image at a vendor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name {
    /// Name of the vendor in the catalogue: `ubuntu`.
    pub vendor: String,
    /// Release: a number, a codename, or a word such as `latest` and `lts`. It may have parts: `debian/13` of `images`.
    pub release: String,
    /// Recipe of an image that is made on demand, which is Talos's own notation: 64 hexadecimal digits.
    pub schematic: Option<String>,
    /// Build: the vendor's serial, such as `20260105`; without it, the newest.
    pub build: Option<String>,
    /// Variant: one of several images of a build, such as `generic`; without it, the catalogue's choice.
    pub variant: Option<String>,
    /// Digest that the image has to have.
    pub sum: Option<Sum>,
}

impl Name {
    /// Name of a release, and of nothing in particular in it.
    pub fn of(vendor: &str, release: &str) -> Self {
        let (vendor, release) = (vendor.to_owned(), release.to_owned());
        Self { vendor, release, schematic: None, build: None, variant: None, sum: None }
    }

    /// This name for the newest build, without a digest: what an alias of an image can be.
    pub fn moving(&self) -> Self {
        Self { build: None, sum: None, ..self.clone() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.release)?;
        let parts = [("@", &self.schematic), (":", &self.build), ("+", &self.variant)];
        for (mark, part) in parts {
            if let Some(part) = part {
                write!(f, "{mark}{part}")?;
            }
        }
        self.sum.as_ref().map_or(Ok(()), |sum| write!(f, "@{sum}"))
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|why| {
            let begin: String = shown(text).chars().take(80).collect();
            // A vendor's name has small letters only.
            let small = text.split_once('/').map(|(vendor, rest)| format!("{}/{rest}", vendor.to_ascii_lowercase()));
            let near = small.filter(|small| small != text && parse(small).is_ok());
            let near = near.map(|small| format!(" (did you mean {small}?)")).unwrap_or_default();
            Error::invalid(format!("{begin:?} is no name of a vendor's image: {why}{near}. {FORM}"))
        })
    }
}

fn parse(text: &str) -> Result<Name, String> {
    if text.len() > NAME_MAX {
        return Err(format!("it has more than {NAME_MAX} bytes"));
    }
    let (rest, sum) = split_sum(text)?;
    let (rest, variant) = split(rest, '+', "variant", "behind the + stands a variant, as in debian/13+generic")?;
    let (rest, build) = split(rest, ':', "build", "behind the : stands a build, as in ubuntu/24.04:20260105")?;
    let (rest, schematic) = split(rest, '@', "schematic", "behind the @ stands a digest such as sha256:…")?;
    let (vendor, release) =
        rest.split_once('/').ok_or("it has no release: write vendor/release, as in debian/13 or ubuntu/latest")?;
    check("vendor", vendor, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')?;
    for part in release.split('/') {
        check("release", part, |c| c.is_ascii_alphanumeric() || ".-_".contains(c))?;
    }
    if schematic.as_ref().is_some_and(|text| !(text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()))) {
        return Err("behind the @ stands a digest such as sha256:…, or a schematic of 64 hexadecimal digits".to_owned());
    }
    let (vendor, release) = (vendor.to_owned(), release.to_owned());
    Ok(Name { vendor, release, schematic, build, variant, sum })
}

/// Takes the digest off the end. A schematic has no algorithm before it.
fn split_sum(text: &str) -> Result<(&str, Option<Sum>), String> {
    let Some((rest, last)) = text.rsplit_once('@') else { return Ok((text, None)) };
    let algorithm = last.split(':').next().unwrap_or_default();
    match algorithm.to_ascii_lowercase().as_str() {
        "md5" | "sha1" => Err(format!("{algorithm} is too weak to tell an image by: give its sha256")),
        "sha256" | "sha512" => Sum::try_from(last.to_owned()).map(|sum| (rest, Some(sum))),
        _ => Ok((text, None)),
    }
}

/// Takes a part off the end, behind the first mark.
fn split<'a>(text: &'a str, mark: char, what: &str, empty: &str) -> Result<(&'a str, Option<String>), String> {
    let Some((rest, part)) = text.split_once(mark) else { return Ok((text, None)) };
    if part.is_empty() {
        return Err(empty.to_owned());
    }
    // LXD's and Incus's builds are told apart by the minute: 20260105_07:42.
    check(what, part, |c| c.is_ascii_alphanumeric() || ".-_".contains(c) || c == ':' && mark == ':')?;
    Ok((rest, Some(part.to_owned())))
}

fn check(what: &str, part: &str, may: impl Fn(char) -> bool) -> Result<(), String> {
    if !part.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("a {what} begins with a letter or a digit"));
    }
    match part.chars().find(|c| !may(*c)) {
        Some(wrong) => Err(format!("a {what} has no {wrong:?}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn every_part_has_its_mark() {
        let name = read(&format!("ubuntu/noble:20260105+kvm@sha256:{}", "ab".repeat(32)));
        assert_eq!((name.vendor.as_str(), name.release.as_str()), ("ubuntu", "noble"));
        assert_eq!((name.build.as_deref(), name.variant.as_deref()), (Some("20260105"), Some("kvm")));
        assert_eq!(name.sum.clone().unwrap().hex(), "ab".repeat(32));
        assert_eq!(name.moving().to_string(), "ubuntu/noble+kvm");
    }

    #[test]
    fn a_schematic_is_told_from_a_digest() {
        let (schematic, digest) = ("3".repeat(64), "4".repeat(64));
        let name = read(&format!("talos/1.13@{schematic}:1.13.2@sha256:{digest}"));
        assert_eq!((name.schematic.as_ref(), name.build.as_deref()), (Some(&schematic), Some("1.13.2")));
        assert_eq!(name.sum.unwrap().hex(), digest);
        assert_eq!(read(&format!("talos/1.13@{schematic}")).sum, None);
    }

    #[test]
    fn a_release_may_have_parts_and_a_build_a_time() {
        let name = read("images/debian/13:20260105_07:42+cloud");
        assert_eq!((name.vendor.as_str(), name.release.as_str()), ("images", "debian/13"));
        assert_eq!(name.build.as_deref(), Some("20260105_07:42"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("ubuntu", "has no release"),
            ("", "has no release"),
            ("ubuntu/", "a release begins with"),
            ("/24.04", "a vendor begins with"),
            ("Ubuntu/24.04", "a vendor has no 'U'"),
            ("ubuntu/../x", "a release begins with"),
            ("ubuntu/24.04:", "stands a build"),
            ("debian/13+", "stands a variant"),
            ("debian/13+a b", "a variant has no ' '"),
            ("debian/13@sha256:12", "as many digits"),
            ("debian/13@md5:d41d8cd98f00b204e9800998ecf8427e", "too weak"),
            ("debian/13@", "stands a digest"),
            ("debian/13@abc", "64 hexadecimal digits"),
        ];
        for (text, words) in cases {
            let error = text.parse::<Name>().unwrap_err();
            assert!(error.message().contains(words), "{text}: {error}");
        }
        let long = format!("debian/{}", "1".repeat(400));
        assert!(long.parse::<Name>().unwrap_err().message().len() < 300);
        let error = "DEBIAN/13".parse::<Name>().unwrap_err();
        assert!(error.message().contains("(did you mean debian/13?). A name is vendor/release"), "{error}");
        let error = "h.example/x?sig=SECRET".parse::<Name>().unwrap_err();
        assert!(!error.message().contains("SECRET"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            vendor in "[a-z0-9][a-z0-9-]{0,8}",
            release in "[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}(/[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}){0,2}",
            schematic in proptest::option::of("[0-9a-f]{64}"),
            build in proptest::option::of("[a-zA-Z0-9][a-zA-Z0-9._:-]{0,8}"),
            variant in proptest::option::of("[a-zA-Z0-9][a-zA-Z0-9._-]{0,8}"),
            digest in proptest::option::of("[0-9a-f]{64}|[0-9a-f]{128}"),
        ) {
            let sum = digest.and_then(|digest| Sum::of_hex(&digest));
            let name = Name { vendor, release, schematic, build, variant, sum };
            prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
        }

        #[test]
        fn any_text_is_a_name_or_an_error(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
