//! The cache of vendors' images, and changes to the catalogue of vendors.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ConfigError, Size, Span};
use crate::vendor::Level;

/// A section of `visor.toml`, where its keys are explained.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "visor.toml says it, and a second text would drift from it")]
pub struct CacheSection {
    pub enabled: bool,
    pub offline: bool,
    pub budget: Share,
    pub free_min: Share,
    pub public: bool,
    pub hosts: Vec<String>,
    pub parents: Vec<String>,
    pub patience: Span,
    pub stale_after: Span,
    pub dead_for: Span,
    pub abandoned: WhenAbandoned,
    pub require: Level,
    pub mirrors: BTreeMap<String, Vec<String>>,
}

/// Fate of a transfer that no client waits for any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenAbandoned {
    /// It goes on to its end.
    Finish,
    /// It stops, and its bytes stay for the next request.
    Keep,
}

/// A part of a disk: a percentage of it, or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Hundredths of the disk.
    Percent(u8),
    /// Bytes.
    Bytes(Size),
}

impl Share {
    /// The share in bytes, of a disk with so many.
    pub fn of(self, disk_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => disk_bytes / 100 * u64::from(percent),
            Self::Bytes(size) => size.bytes(),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent} %"),
            Self::Bytes(size) => size.fmt(f),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = match text.trim().strip_suffix('%') {
            Some(number) => number.trim().parse().ok().filter(|percent| *percent <= 100).map(Self::Percent),
            None => Size::parse(&text).map(Self::Bytes),
        };
        read.ok_or_else(|| {
            serde::de::Error::custom(format!("{text:?} is not a share of a disk like \"20 %\" or \"60 GiB\""))
        })
    }
}

impl CacheSection {
    /// Checks the settings that are wrong only in combination, and those that a type can't check.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for host in &self.hosts {
            if host.is_empty() || host.contains(['/', '@', '*', ' ']) {
                return Err(ConfigError(format!("cache.hosts: {host:?} is not a host name such as mirror.example")));
            }
        }
        let mirrors = self.mirrors.iter().flat_map(|(host, urls)| urls.iter().map(move |url| (host.as_str(), url)));
        let parents = self.parents.iter().map(|url| ("", url));
        for (host, url) in parents.chain(mirrors) {
            let key = if host.is_empty() { "cache.parents".to_owned() } else { format!("cache.mirrors.{host:?}") };
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(ConfigError(format!("{key}: {url:?} must begin with http:// or https://")));
            }
            if url.contains('@') {
                return Err(ConfigError(format!("{key}: {url:?} must not contain a user")));
            }
        }
        match self.stale_after.duration().is_zero() || self.patience.duration().is_zero() {
            true => Err(ConfigError("cache.stale_after and cache.patience must be greater than zero".into())),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn with(text: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::from_parts(Some(file.path()), std::iter::empty()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_share_is_of_the_disk_or_a_size() {
        let config = with("[cache]\nbudget = \"40 GiB\"\nfree_min = \" 7% \"\n").unwrap();
        assert_eq!((config.cache.budget.of(1), config.cache.free_min.of(1000)), (40 << 30, 70));
        assert_eq!(
            (config.cache.budget.to_string(), config.cache.free_min.to_string()),
            ("40 GiB".into(), "7 %".into())
        );
        assert_eq!(Share::Percent(100).of(u64::MAX), u64::MAX / 100 * 100);
        for bad in ["101 %", "-1 %", "%", "much", "5.5 %"] {
            let refusal = with(&format!("[cache]\nbudget = {bad:?}\n")).unwrap_err();
            assert!(refusal.contains("cache.budget") && refusal.contains("20 %"), "{refusal}");
        }
    }

    #[test]
    fn vendors_and_mirrors_have_names_of_their_own() {
        let text = "[vendors.debian]\nbase = \"https://lab/debian\"\nkeys = [\"AB\"]\n\
                    [cache.mirrors]\n\"cloud.debian.org\" = [\"https://lab/debian\"]\n";
        let config = with(text).unwrap();
        assert_eq!(config.vendors["debian"]["base"].as_str(), Some("https://lab/debian"));
        assert_eq!(config.cache.mirrors["cloud.debian.org"], ["https://lab/debian"]);
        let again = with(&config.show().unwrap()).unwrap();
        assert_eq!(again.show().unwrap(), config.show().unwrap());
    }

    #[test]
    fn what_can_not_be_is_named() {
        for (text, word) in [
            ("[cache]\nbugdet = \"1 GiB\"\n", "did you mean cache.budget"),
            ("[cache]\nrequire = \"much\"\n", "`signature`"),
            ("[cache]\nabandoned = \"drop\"\n", "`finish` or `keep`"),
            ("[cache]\nhosts = [\"https://a/\"]\n", "cache.hosts"),
            ("[cache]\nparents = [\"lab:8443\"]\n", "cache.parents: \"lab:8443\" must begin"),
            ("[cache]\nparents = [\"https://me:x@lab\"]\n", "must not contain a user"),
            ("[cache.mirrors]\n\"a.example\" = [\"b.example\"]\n", "cache.mirrors.\"a.example\""),
            ("[cache]\nstale_after = \"0s\"\n", "greater than zero"),
            ("vendors = 3\n", "vendors is a section"),
            ("[vendors]\ndebian = 3\n", "vendors.debian has to be a table"),
        ] {
            let refusal = with(text).unwrap_err();
            assert!(refusal.contains(word), "{text}: {refusal}");
        }
    }
}
