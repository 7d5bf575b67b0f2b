//! Expectations: what the bytes under a URL have to be, and on whose word.

use serde::{Deserialize, Serialize};

use super::level::Level;
use super::place::last_part;
use super::sum::Sum;
use crate::error::{Reason, Result};

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
    /// Digests among them that another document than the evidence's says, with its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<(Sum, String)>,
}

impl Expectation {
    /// Says who says a digest, to be put behind it.
    pub fn source(&self, sum: &Sum) -> String {
        let other = self.others.iter().find(|(other, _)| other == sum).map(|(_, name)| name.as_str());
        let document = other.or_else(|| self.evidence.documents.first().map(|url| last_part(url)));
        match (document, self.evidence.words.strip_prefix("matches ")) {
            (Some(document), _) => format!(", as {document} says"),
            (None, Some(given)) => format!(", {given}"),
            (None, None) => String::new(),
        }
    }

    /// This on the word of what lies beside a file, together with what its vendor's list says of it: all of that has to hold.
    ///
    /// # Errors
    /// `SumsRefused` when the two contradict each other.
    pub(super) fn and_listed(self, listed: Self, url: &str) -> Result<Self> {
        let list = listed.evidence.documents.first().cloned().unwrap_or_default();
        let refused = |said: String, list_says: String| {
            let why = format!("of {}, one says {said}, and {} says {list_says}", last_part(url), last_part(&list));
            Err(Reason::SumsRefused.about(self.evidence.documents.first().map_or(url, String::as_str)).and(why))
        };
        if let (Some(size), Some(other)) = (self.size, listed.size)
            && size != other
        {
            return refused(format!("{size} bytes"), format!("{other} bytes"));
        }
        let mut more = Vec::new();
        for sum in listed.sums {
            match self.sums.iter().find(|own| own.algorithm() == sum.algorithm()) {
                Some(own) if *own != sum => return refused(own.to_string(), sum.to_string()),
                Some(_) => {}
                None => more.push(sum),
            }
        }
        // What lies beside the file is about its very build, and stays when the list goes on.
        let is_less = self.evidence.level < listed.evidence.level;
        let own_name = self.evidence.documents.first().map_or("", |url| last_part(url)).to_owned();
        let (evidence, others) = match is_less {
            false => (self.evidence, more.iter().map(|sum| (sum.clone(), last_part(&list).to_owned())).collect()),
            true => (listed.evidence, self.sums.iter().map(|sum| (sum.clone(), own_name.clone())).collect()),
        };
        let sums = self.sums.into_iter().chain(more).collect();
        Ok(Self { size: self.size.or(listed.size), sums, evidence, others })
    }
}
