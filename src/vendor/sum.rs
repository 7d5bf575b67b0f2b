//! Sums of files: a digest with its algorithm. Values only.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::{from_hex, hex};

/// Algorithm of a sum, from the weakest to the strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SumAlgorithm {
    /// MD5: guards against accidents only.
    Md5,
    /// SHA-1: guards against accidents only.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl SumAlgorithm {
    /// Every algorithm, the strongest first.
    pub const ALL: [Self; 4] = [Self::Sha512, Self::Sha256, Self::Sha1, Self::Md5];

    /// Length of its digests, in bytes.
    pub fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// Name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// True if other bytes with a given digest can be made.
    pub fn is_weak(self) -> bool {
        matches!(self, Self::Md5 | Self::Sha1)
    }
}

/// A digest of a file, of the length that its algorithm has.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sum {
    algorithm: SumAlgorithm,
    bytes: Vec<u8>,
}

impl Sum {
    /// A digest; `None` for one of another length than its algorithm's.
    pub fn new(algorithm: SumAlgorithm, bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() == algorithm.length()).then_some(Self { algorithm, bytes })
    }

    /// Reads a digest in hexadecimal, of either case; its length tells the algorithm.
    pub fn of_hex(text: &str) -> Option<Self> {
        let algorithm = SumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.length() * 2 == text.len())?;
        let bytes = match algorithm {
            SumAlgorithm::Md5 => from_hex::<16>(text)?.to_vec(),
            SumAlgorithm::Sha1 => from_hex::<20>(text)?.to_vec(),
            SumAlgorithm::Sha256 => from_hex::<32>(text)?.to_vec(),
            SumAlgorithm::Sha512 => from_hex::<64>(text)?.to_vec(),
        };
        Some(Self { algorithm, bytes })
    }

    /// Algorithm.
    pub fn algorithm(&self) -> SumAlgorithm {
        self.algorithm
    }

    /// Digest.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Digest in lower-case hexadecimal.
    pub fn hex(&self) -> String {
        hex(&self.bytes)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.name(), self.hex())
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Sum> for String {
    fn from(sum: Sum) -> Self {
        sum.to_string()
    }
}

impl TryFrom<String> for Sum {
    type Error = String;

    /// Reads `sha256:…`; the name of the algorithm and the length have to agree.
    fn try_from(text: String) -> Result<Self, String> {
        let read = text
            .split_once(':')
            .and_then(|(name, hex)| Self::of_hex(hex).filter(|sum| sum.algorithm.name().eq_ignore_ascii_case(name)));
        read.ok_or_else(|| format!("{text:?} is not a digest such as sha256:… with as many digits as it needs"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_algorithm_and_the_length_agree() {
        for algorithm in SumAlgorithm::ALL {
            let sum = Sum::of_hex(&"Ab".repeat(algorithm.length())).unwrap();
            assert_eq!((sum.algorithm(), sum.bytes()), (algorithm, &vec![0xab; algorithm.length()][..]));
            assert_eq!(Sum::try_from(sum.to_string()), Ok(sum));
        }
        for bad in ["", "ab", &"g".repeat(64), &format!("+{}", "a".repeat(63))] {
            assert_eq!(Sum::of_hex(bad), None, "{bad}");
        }
        for bad in [format!("md5:{}", "a".repeat(64)), "sha256:".to_owned(), "a".repeat(64)] {
            assert!(Sum::try_from(bad.clone()).is_err(), "{bad}");
        }
    }
}
