//! Trust in lists: their content as far as a signature covers it, and the expectations that rest on it.

use super::seeker::Seeker;
use crate::error::Result;
use crate::vendor::documents::VendorDocument;
use crate::vendor::expectation::Expectation;
use crate::vendor::learn::expectation;
use crate::vendor::proof::{Kept, OpenedDocument, not_rolled_back, open};
use crate::vendor::rules::VendorRules;
use crate::vendor::sum::Sum;
use crate::vendor::sums::FoundSums;

/// A list as far as it can be believed.
pub(super) struct Trusted {
    kept: Kept,
    opened: OpenedDocument,
}

impl Trusted {
    /// Content: of a signed list only what the signature covers.
    pub(super) fn content(&self) -> &[u8] {
        &self.opened.content
    }
}

impl Seeker<'_> {
    /// Opens a list that has no signature.
    pub(super) fn open(&self, asked: &str, document: VendorDocument) -> Result<Trusted> {
        self.open_by(asked, document, None)
    }

    /// Opens a list that has its signature inside, by the vendor's keys.
    pub(super) fn open_signed(&self, asked: &str, document: VendorDocument) -> Result<Trusted> {
        let rules =
            VendorRules { signatures: vec!["inside".to_owned()], require: self.require, ..self.vendor.rules.clone() };
        self.open_by(asked, document, Some(&rules))
    }

    fn open_by(&self, asked: &str, document: VendorDocument, rules: Option<&VendorRules>) -> Result<Trusted> {
        let kept = Kept { url: asked.to_owned(), document };
        let opened = open(&kept, &[], rules, self.keyring, self.now)?;
        Ok(Trusted { kept, opened })
    }

    /// Expectation of the file under a URL that a list gives digests of; `None` without any.
    pub(super) fn expect(
        &self,
        list: &Trusted,
        url: &str,
        size: Option<u64>,
        sums: Vec<Sum>,
    ) -> Result<Option<Expectation>> {
        if sums.is_empty() {
            return Ok(None);
        }
        let facts = FoundSums { sums, size };
        let evidence = list.opened.evidence(&list.kept, &self.vendor.title, url, &facts);
        not_rolled_back(&evidence, self.held, &list.kept.url)?;
        Ok(Some(expectation(facts, evidence)))
    }
}
