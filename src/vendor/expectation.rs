//! Expectations: what the bytes under a URL have to be, and on whose word.

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::sum::Sum;

/// Proof of an expectation: the document that has it and its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Level that bytes reach which match.
    pub level: Level,
    /// One line for people: `signed by Ubuntu Cloud Images (D2EB 4462…7C81), sums of 2026-01-05`.
    pub words: String,
    /// Fingerprint of the primary key that signed, in upper-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Time at which the document was signed, or that it says of itself: an older one later is a roll-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<i64>,
    /// URLs of the documents, for a later check without a network: the sums, then their signature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<String>,
}

impl Evidence {
    /// Tells whether the bytes were signed, or took the place of signed ones on their caller's word.
    pub fn was_signed(&self) -> bool {
        self.level == Level::Signature || (self.level == Level::Given && self.signed_at.is_some())
    }

    /// This, in the place of what was held before: a digest on the caller's word is good for one pull, and ends no guard.
    #[must_use]
    pub fn behind(self, held: Option<&Self>) -> Self {
        let before = held.and_then(|held| held.signed_at).filter(|_| self.level == Level::Given);
        Self { signed_at: self.signed_at.or(before), ..self }
    }
}

/// Digests and length that the bytes under a URL have to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Length in bytes, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Digests, each of another algorithm. All of them have to match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sums: Vec<Sum>,
    /// Proof.
    pub evidence: Evidence,
}
