//! Quarantine: bytes that did not pass, kept aside for a while. When it was what they had to be that was wrong, they are taken out again
//! without a second transfer.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::core::Cache;
use super::entry::{Entry, Suspect};
use super::fill::Fill;
use super::key::Key;
use super::shelf::{Shelf, Shelved};
use super::verify::{self, Passed};
use crate::blob::StoreError;
use crate::error::{Error, Result};
use crate::vendor::{Expectation, Level, Sum, SumAlgorithm};

/// Times at which documents that did not fit their file are looked at again: vendors upload them minutes apart.
const LOOKS: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(90), Duration::from_secs(480)];

/// Puts bytes that did not pass into quarantine, and looks later whether its documents were late.
pub(super) async fn put_away(cache: &Arc<Cache>, fill: &Arc<Fill>, entry: Entry) -> Result<(), Error> {
    let Some(sha256) = entry.sum(SumAlgorithm::Sha256).map(Sum::hex) else { return Ok(()) };
    let suspect = Suspect { entry, put_at: cache.now().0 };
    let (ending, written, name) = (Arc::clone(fill), suspect.clone(), sha256.clone());
    let work = spawn_blocking(move || {
        ending.check()?;
        ending.moving(|| ending.shelf.put_away(&ending.file, &name, &written))
    });
    if let Err(error) = work.await.map_err(Error::internal)? {
        fill.dispose().await;
        return Err(StoreError::from(error).into());
    }
    cache.index().suspects.insert(sha256.clone(), suspect);
    let (cache, key) = (Arc::downgrade(cache), fill.key.clone());
    tokio::spawn(async move {
        for wait in LOOKS {
            tokio::time::sleep(wait).await;
            let Some(cache) = cache.upgrade() else { return };
            if cache.offline.since().is_some() || !cache.index().suspects.contains_key(&sha256) {
                return;
            }
            if let Ok(Some(expectation)) = cache.expected(&key, true).await
                && cache.adopt(&key, &expectation).await.is_some()
            {
                return;
            }
        }
    });
    Ok(())
}

impl Cache {
    /// Takes bytes of a key out of quarantine, if its documents were corrected meanwhile.
    ///
    /// # Errors
    /// Those of documents that are not to be trusted: what they say of other bytes would be refused too.
    pub(super) async fn corrected(self: &Arc<Self>, key: &Key) -> Result<Option<Arc<Shelved>>, Error> {
        let is_suspect = self.index().suspects.values().any(|suspect| suspect.entry.key == key.url());
        if !is_suspect {
            return Ok(None);
        }
        match self.expected(key, true).await? {
            Some(expectation) => Ok(self.adopt(key, &expectation).await),
            None => Ok(None),
        }
    }

    /// Takes bytes out of quarantine that an expectation names, as the entry of a key. `None` if there are none.
    pub(super) async fn adopt(self: &Arc<Self>, key: &Key, expectation: &Expectation) -> Option<Arc<Shelved>> {
        let fits = |suspect: &Suspect| {
            matches!(verify::compare(expectation, suspect.entry.size, &suspect.entry.sums), Passed::As(..))
        };
        let strong = expectation.sums.iter().any(|sum| !sum.algorithm().is_weak());
        let found =
            self.index().suspects.iter().find(|(_, suspect)| strong && fits(suspect)).map(|(name, _)| name.clone());
        let (path, evidence) = (self.shelf.quarantined(&found?), expectation.evidence.clone());
        // The vendor's digests do not stand for its signature over the file itself; the caller's do.
        let evidence = match evidence.level {
            Level::Given => evidence,
            _ => self.signed(key, &path, self.required(key), evidence).await.ok()?,
        };
        // Taken by one request: all others find the entry.
        let (sha256, suspect) = {
            let mut index = self.index();
            let (sha256, _) = index.suspects.iter().find(|(_, suspect)| strong && fits(suspect))?;
            let sha256 = sha256.clone();
            index.suspects.remove_entry(&sha256)?
        };
        let now = self.now().0;
        let entry = Entry {
            id: Shelf::new_id(),
            key: key.url().to_owned(),
            evidence,
            expected: expectation.sums.clone(),
            checked_at: now,
            used_at: now,
            ..suspect.entry.clone()
        };
        let (cache, key) = (Arc::clone(self), key.clone());
        // A task of its own: a client that leaves must not leave it half done.
        let adopting = tokio::spawn(async move {
            let (shelf, written, name) = (Arc::clone(&cache.shelf), entry.clone(), sha256.clone());
            let adopted = spawn_blocking(move || shelf.adopt(&name, &written)).await;
            if !matches!(adopted, Ok(Ok(()))) {
                log::warn!("bytes of {} can't be taken out of quarantine: {adopted:?}", key.shown());
                cache.index().suspects.insert(sha256, suspect);
                return None;
            }
            let held = Shelved::new(&cache.shelf, entry);
            cache.install(&key, &held);
            Some(held)
        });
        adopting.await.ok().flatten()
    }
}
