//! Sizes, durations and formats as people write them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::image::{Format, Vocabulary};

/// A number of bytes, written like `64 MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(u64);

impl Size {
    /// The size in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// Reads a size as people write it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(|size: bytesize::ByteSize| Self(size.as_u64()))
    }
}

impl fmt::Display for Size {
    /// Exact: in the largest unit that leaves no rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
        let (mut number, mut unit) = (self.0, 0);
        while number != 0 && number.is_multiple_of(1024) && unit + 1 < UNITS.len() {
            number /= 1024;
            unit += 1;
        }
        write!(f, "{number} {}", UNITS[unit])
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is not a size like \"64 MiB\"")))
    }
}

/// A duration, written like `30s` or `15m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(Duration);

impl Span {
    /// The duration.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = |_| serde::de::Error::custom(format!("{text:?} is not a duration like \"30s\""));
        humantime::parse_duration(&text).map(Self).map_err(wrong)
    }
}

/// A digest that Glance's clients compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HashAlgorithm {
    /// Computed anyway.
    Sha256,
    /// Glance's own default; computed for this alone.
    Sha512,
}

/// The accounts that may make images public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publishers {
    /// The owner of an image.
    Owner,
    /// Administrators.
    Admin,
}

/// A disk format, by any of its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatName(Format);

impl FormatName {
    /// The format.
    pub fn format(self) -> Format {
        self.0
    }
}

impl Serialize for FormatName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name())
    }
}

impl<'de> Deserialize<'de> for FormatName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || serde::de::Error::custom(format!("{text:?} is not a format; the formats are {}", Format::names()));
        Format::parse(&text).map(Self).ok_or_else(wrong)
    }
}

/// An origin of web pages, as browsers write it: a scheme, a host, and a port if it is not the scheme's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebOrigin(String);

impl fmt::Display for WebOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for WebOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WebOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            serde::de::Error::custom(format!(
                "{text:?} is not an origin of web pages, such as https://horizon.example or http://lab.example:8080"
            ))
        };
        origin(&text).map(Self).ok_or_else(wrong)
    }
}

/// The origin in a text, as browsers write it.
pub(super) fn origin(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches('/').to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority = authority.strip_suffix(usual).unwrap_or(authority);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
    let good = !host.is_empty()
        && host.chars().all(is_host)
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    good.then(|| format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_written_as_browsers_do() {
        for (text, expected) in [
            ("https://horizon.example", "https://horizon.example"),
            ("HTTPS://Horizon.Example:443/", "https://horizon.example"),
            ("http://lab:8080", "http://lab:8080"),
            ("http://[::1]:8000", "http://[::1]:8000"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(origin(text).as_deref(), Some(expected), "{text}");
        }
        for bad in [
            "*",
            "",
            "null",
            "horizon.example",
            "https://",
            "https://*",
            "ftp://a",
            "https://a/b",
            "https://a b",
            "http://a:x",
        ] {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_exactly() {
        for (bytes, text) in [(0, "0 B"), (1, "1 B"), (1536, "1536 B"), (64 << 20, "64 MiB"), (1 << 50, "1024 TiB")] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }
}
