//! Another look at what a pulled image was verified by: the sums and signatures that were kept, without a network.

use crate::cache::Key;
use crate::error::{Reason, Result};
use crate::image::{Image, ImageId};
use crate::registry::Caller;
use crate::registry::pulls::provenance::Provenance;
use crate::registry::pulls::service::Pulls;
use crate::vendor::proof::{Kept, recheck};
use crate::vendor::{PRODUCTS_BYTES_MAX, Sum, SumAlgorithm, VendorRules};

/// Outcome of another look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rechecked {
    /// The documents say so still, in these words.
    Proved(String),
    /// It can't be proved again, for this reason.
    Unproved(String),
    /// The documents say otherwise.
    Refused(String),
}

impl Pulls {
    /// Proves again that pulled images (all, if `ids` is empty) are what their vendors published, from documents of the cache. Each
    /// with its name. Sends nothing if the cache is offline.
    ///
    /// # Errors
    /// `NotFound` for an id that no image has; `Internal` when the catalogue does not work.
    pub async fn recheck(&self, ids: &[ImageId]) -> Result<Vec<(String, Rechecked)>> {
        let mut images = Vec::new();
        for id in ids {
            images.push(self.core.catalog.get(*id).await?);
        }
        if ids.is_empty() {
            images = self.pulled(&Caller::Admin(None), true).await?;
        }
        let mut outcomes = Vec::new();
        for image in &images {
            let Some(origin) = Provenance::of(image) else { continue };
            let outcome = self.looked(image, &origin).await.unwrap_or_else(|outcome| outcome);
            outcomes.push((origin.name, outcome));
        }
        Ok(outcomes)
    }

    async fn looked(&self, image: &Image, origin: &Provenance) -> std::result::Result<Rechecked, Rechecked> {
        let unproved = |why: &str| Rechecked::Unproved(format!("{}; {why}", origin.evidence.words));
        let rules = self.catalogue.of_url(&origin.origin).map(|vendor| vendor.rules_for(&origin.origin));
        if origin.evidence.documents.is_empty() {
            return Err(unproved("no document says so that could be read again"));
        }
        if rules.as_ref().is_some_and(VendorRules::signs_files) {
            return Err(unproved("the signature over the file itself was checked when it came"));
        }
        let documents = self.cache.documents();
        let mut kept = Vec::new();
        for url in &origin.evidence.documents {
            match documents.get(url, PRODUCTS_BYTES_MAX).await {
                Ok(Some(document)) => kept.push(Kept { url: url.clone(), document }),
                Ok(None) => return Err(unproved(&format!("{url} is not here any more"))),
                Err(error) => return Err(unproved(&format!("{url} can't be read: {}", error.message()))),
            }
        }
        let keyring = self.catalogue.keyring();
        let found = match recheck(&origin.origin, rules.as_ref(), keyring, &kept, self.core.now()) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(unproved("the list that is here is a newer one, and does not name this build")),
            Err(error) if error.reason() == Reason::KeyMissing => return Err(unproved(error.message())),
            Err(error) => return Err(Rechecked::Refused(error.message().to_owned())),
        };
        let own = self.sums(image, origin);
        let same = |sum: &Sum| own.iter().find(|one| one.algorithm() == sum.algorithm()).map(|one| one == sum);
        let compared: Vec<bool> = found.sums.iter().filter_map(same).collect();
        match (compared.contains(&false), compared.is_empty()) {
            // Without a date of its own, the list may be of another day than the image.
            (true, _)
                if found.evidence.signed_at.is_some() && found.evidence.signed_at == origin.evidence.signed_at =>
            {
                Err(Rechecked::Refused(format!(
                    "the list that verified it has another digest: {}",
                    found.evidence.words
                )))
            }
            (true, _) => Err(unproved("the list that is here has another digest: another file was published since")),
            (_, true) => Err(unproved("the list has digests of kinds that were not kept")),
            _ if found.evidence.level < origin.evidence.level => {
                Err(Rechecked::Refused(format!("it was better verified before: {}", found.evidence.words)))
            }
            _ => Ok(Rechecked::Proved(found.evidence.words)),
        }
    }

    /// Digests of the file as it is published.
    fn sums(&self, image: &Image, origin: &Provenance) -> Vec<Sum> {
        let Some((sha256, _)) = origin.published(image) else { return Vec::new() };
        let cached = Key::parse(&origin.origin).map(|key| self.cache.sums(&key)).unwrap_or_default();
        let is_it = cached.iter().any(|sum| sum.algorithm() == SumAlgorithm::Sha256 && *sum == sha256);
        let more = cached.into_iter().filter(|sum| is_it && sum.algorithm() != SumAlgorithm::Sha256);
        std::iter::once(sha256.clone()).chain(more).collect()
    }
}
