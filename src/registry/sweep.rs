//! Sweep: brings every image back to a regular state, at the start and from time to time. Knows no protocol.

use std::collections::HashSet;

use super::maintenance::Maintenance;
use crate::error::{Kind, Reason, Result};
use crate::image::{BlobKey, Image, Resumable, Status, StoreName};
use crate::jobs::Handle;
use crate::registry::uploads::session::fallen_back;

/// Removed images with kept files, at most: the oldest make room.
const LINGERING_MAX: usize = 1024;

/// Work that a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Ended uploads of an earlier run.
    pub uploads: usize,
    /// Completed removals.
    pub removals: usize,
    /// Removed staged files of an earlier run.
    pub staged: usize,
}

/// Tells if all possible bytes of an image are in the local directory.
fn is_here(image: &Image) -> bool {
    image.places().iter().all(|place| place.store == StoreName::FILE)
}

impl Maintenance {
    /// Ends the unfinished work of an earlier run. Called once, before the first request.
    ///
    /// Only files that a record names are ever removed: a lost catalogue must not take the images with it.
    ///
    /// # Errors
    /// `Internal` when catalogue or store do not work.
    pub async fn sweep_at_start(&self) -> Result<Swept> {
        let kept = self.kept(&self.uploads.resumables().await?);
        let staged = self.core.stores.named(&StoreName::FILE)?.sweep(kept.as_deref()).await?;
        let uploads = self.settle_uploads(is_here).await?;
        let removals = self.sweep_those(is_here).await?;
        self.removal.expire(is_here, &Handle::default()).await?;
        Ok(Swept { uploads, removals, staged })
    }

    /// Ends unfinished work in other stores, which may be slow or down: serving does not wait for it. Called once,
    /// beside the first requests.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work: then leftovers of an earlier run stay.
    pub(super) async fn sweep_elsewhere(&self) -> Result<()> {
        let kept = self.kept(&self.uploads.resumables().await?);
        for store in self.core.stores.iter().filter(|store| store.name != StoreName::FILE) {
            match store.blobs.sweep(kept.as_deref()).await {
                Ok(swept) => log::debug!("swept in the store {}: {swept}", store.name),
                Err(error) => log::error!("the store {} could not be swept: {error}", store.name),
            }
        }
        self.settle_uploads(|_| true).await?;
        self.sweep_those(|image| !is_here(image)).await?;
        self.removal.expire(|image| !is_here(image), &Handle::default()).await
    }

    /// Staged keys of uploads that may continue. None after a journal lost lines: then nothing is removed.
    fn kept(&self, resumables: &[(Image, Resumable)]) -> Option<Vec<BlobKey>> {
        let keys = resumables.iter().map(|(image, _)| BlobKey::main(image.id, image.format)).collect();
        (!self.core.catalog.may_have_lost_changes()).then_some(keys)
    }

    /// Takes over those uploads of earlier runs that may continue, ends the others that are meant, and returns their
    /// number.
    async fn settle_uploads(&self, meant: impl Fn(&Image) -> bool) -> Result<usize> {
        // One sweep at a time: a second one could end an upload that began after the first had freed its image.
        let Ok(_turn) = self.settling.try_lock() else { return Ok(0) };
        let (mut ended, mut down, mut adopted) = (0, HashSet::new(), Vec::new());
        for image in self.core.all_in(Status::Saving).await? {
            if image.ticket.is_some_and(|ticket| ticket.boot == self.core.boot) {
                continue;
            }
            if self.goes_on(&image).await {
                adopted.push(image.id);
                continue;
            }
            if !meant(&image) || down.contains(&image.home()) {
                continue;
            }
            match self.end_dead_upload(&image).await {
                Ok(()) => ended += 1,
                // The image stays as it is until the next sweep: no reason to refuse service to the others.
                Err(error) => {
                    log::error!("the upload of {} could not be ended: {error}", image.id);
                    down.insert(image.home());
                }
            }
        }
        self.uploads.complete_later(adopted);
        Ok(ended)
    }

    /// Tells if an upload of an earlier run stays: taken over, or to be tried again.
    async fn goes_on(&self, image: &Image) -> bool {
        let Some(resumable) = image.ticket.and_then(|ticket| ticket.resumable) else { return false };
        match self.uploads.adopt(image, resumable).await {
            Ok(true) => log::info!("the upload of {} can continue at {} bytes", image.id, resumable.offset),
            Ok(false) => return false,
            Err(error) => log::error!("the upload of {} can't continue now: {error}", image.id),
        }
        true
    }

    /// Ends an upload of an earlier run. Its file may have been put in place just before the process died, and was
    /// never announced to a client. After lost changes the record may be an old version of an image that was complete:
    /// then the bytes stay, and `visor verify` shows them.
    pub(super) async fn end_dead_upload(&self, image: &Image) -> Result<()> {
        let was = image.ticket;
        let is_dead = move |row: &Image| row.status == Status::Saving && row.ticket == was;
        if !self.core.catalog.find(image.id).await?.is_some_and(|row| is_dead(&row)) {
            return Ok(());
        }
        let ended = if self.core.catalog.may_have_lost_changes() {
            let failed = Image { status: Status::Failed, ticket: None, ..image.clone() };
            self.core.catalog.replace(failed).await.map(drop)
        } else {
            for place in image.places() {
                self.core.stores.delete(&place).await?;
            }
            let fall_back = move |row: &Image| match is_dead(row) {
                true => Ok(fallen_back(row.clone())),
                false => Err(Reason::ChangedMeanwhile.about(row.id)),
            };
            self.core.catalog.amend(image.id, fall_back).await.map(drop)
        };
        match ended {
            // Another request removed the image first.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Precondition) => Ok(()),
            ended => ended,
        }
    }

    /// Retries unfinished removals and uploads of earlier runs, and saves the read counters. Called by a timer. Returns
    /// the number of removals to finish.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub(super) async fn clean_up(&self) -> Result<usize> {
        self.settle_uploads(|_| true).await?;
        let removals = self.sweep_those(|_| true).await?;
        self.core.catalog.keep_accesses();
        Ok(removals)
    }

    /// Runs the whole of a timer's work: cleaning up, and removal of expired images.
    #[cfg(test)]
    pub(super) async fn sweep(&self) -> Result<usize> {
        let removals = self.clean_up().await?;
        self.removal.expire(|_| true, &Handle::default()).await?;
        Ok(removals)
    }

    async fn sweep_those(&self, meant: impl Fn(&Image) -> bool) -> Result<usize> {
        let mut gone = self.core.all_in(Status::Deleting).await?;
        gone.retain(&meant);
        let count = gone.len();
        gone.sort_by_key(|image| std::cmp::Reverse(image.updated_at));
        self.removal.remove_each(gone, LINGERING_MAX).await;
        self.uploads.expire_resumables(&meant).await?;
        Ok(count)
    }
}
