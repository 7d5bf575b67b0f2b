//! Another look at what a pulled image was verified by: the sums and signatures that were kept, without a network.

use std::fs::File;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use crate::cache::Key;
use crate::error::{Error, Reason, Result};
use crate::image::{Image, ImageId};
use crate::registry::Caller;
use crate::registry::pulls::provenance::Provenance;
use crate::registry::pulls::service::Pulls;
use crate::vendor::proof::{Kept, recheck, verify_file_signature};
use crate::vendor::{Level, PRODUCTS_BYTES_MAX, Sum, SumAlgorithm, VendorRules};

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
        let vendor = self.catalogue.of_url(&origin.origin);
        // What was reached then has to be reached again, and no more: a signature that was not checked is not kept.
        let require = origin.evidence.level;
        let rules = vendor.map(|vendor| VendorRules { require, ..vendor.rules_for(&origin.origin) });
        if origin.evidence.documents.is_empty() {
            return Err(unproved("no document says so that could be read again"));
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
        let is_over_file = |rules: &&VendorRules| {
            let over_file = rules.signatures_of_file(&origin.origin);
            kept.first().is_some_and(|kept| over_file.contains(&kept.url))
        };
        if let Some(rules) = rules.as_ref().filter(is_over_file) {
            return self.signed_itself(image, origin, rules.clone(), kept.remove(0)).await;
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

    /// Another look at a signature over the file itself, which has to be in the cache still.
    async fn signed_itself(
        &self,
        image: &Image,
        origin: &Provenance,
        rules: VendorRules,
        signature: Kept,
    ) -> std::result::Result<Rechecked, Rechecked> {
        let unproved = |why: &str| Rechecked::Unproved(format!("{}; {why}", origin.evidence.words));
        let away = || unproved("it is the file itself that is signed, and that is not in the cache any more");
        let key = Key::parse(&origin.origin).map_err(|_| away())?;
        let file = self.cache.bring_here(&key, None, Level::None, &|_| {}).await.map_err(|_| away())?;
        let sha256 = file.digests.sha256.and_then(|bytes| Sum::new(SumAlgorithm::Sha256, bytes));
        if sha256.is_none() || sha256 != origin.published(image).map(|(sum, _)| sum) {
            return Err(unproved("the file that is in the cache is another one"));
        }
        let (catalogue, now) = (Arc::clone(&self.catalogue), self.core.now());
        let verified = spawn_blocking(move || {
            let mut bytes = File::open(&file.path).map_err(Error::internal)?;
            verify_file_signature(&signature, &mut bytes, &rules, catalogue.keyring(), None, now)
        });
        match verified.await.map_err(Error::internal).and_then(|verified| verified) {
            Ok(evidence) => Ok(Rechecked::Proved(evidence.words)),
            Err(error) if matches!(error.reason(), Reason::KeyMissing | Reason::Internal) => {
                Err(unproved(error.message()))
            }
            Err(error) => Err(Rechecked::Refused(error.message().to_owned())),
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
