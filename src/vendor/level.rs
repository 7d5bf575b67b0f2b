//! Levels of verification: a closed vocabulary, in one order.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Level of verification of an image, from nothing to a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Came over http, and nothing to check against.
    #[default]
    None,
    /// Came over https; no checksum found.
    Tls,
    /// Matches an MD5 or SHA-1: guards against accidents only.
    Weak,
    /// Matches a checksum that came beside it.
    Checksum,
    /// Matches the digest that the caller gave, or a lock file has.
    Given,
    /// Matches a checksum that a pinned key signed, or is signed by such a key itself.
    Signature,
}

impl Level {
    /// Every level, the lowest first.
    pub const ALL: [Self; 6] = [Self::None, Self::Tls, Self::Weak, Self::Checksum, Self::Given, Self::Signature];

    /// Name in answers, settings and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tls => "tls",
            Self::Weak => "weak",
            Self::Checksum => "checksum",
            Self::Given => "given",
            Self::Signature => "signature",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|level| level.name() == text).ok_or_else(|| format!("it can be {names}"))
    }
}
