//! Bringing every image back to a state that has a name: at the start, and from time to time.

use std::collections::HashSet;

use super::Registry;
use super::saving::fallen_back;
use crate::error::Result;
use crate::image::{BlobKey, Image, Status};

/// Removed images whose files stay a while, at the most: the oldest make room.
const LINGERING_MAX: usize = 1024;

/// What a sweep found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Uploads of an earlier run that were ended.
    pub uploads: usize,
    /// Removals that were brought to their end.
    pub removals: usize,
    /// Staged files of an earlier run.
    pub staged: usize,
}

impl Registry {
    /// Ends what an earlier run left half done. Called once, before the first request.
    ///
    /// Only files that a record names are ever removed: a catalogue that was lost must not take the images with it.
    ///
    /// # Errors
    /// `Internal` when catalogue or store do not work.
    pub async fn sweep_at_start(&self) -> Result<Swept> {
        let resumables = self.resumables().await?;
        let keys: Vec<_> = resumables.iter().map(|(image, _)| BlobKey::main(image.id, image.format)).collect();
        // On the word of a journal that lost lines nothing is removed.
        let staged = self.store.sweep((!self.catalog.may_have_lost_changes()).then_some(&keys)).await?;
        let mut stay = HashSet::new();
        for (image, resumable) in resumables {
            match self.adopt(&image, resumable).await {
                Ok(true) => log::info!("the upload of {} may go on behind {} bytes", image.id, resumable.offset),
                Ok(false) => continue,
                // It stays as it is, and the next start tries again: no reason not to serve the others.
                Err(error) => log::error!("the upload of {} can't go on in this run: {error}", image.id),
            }
            stay.insert(image.id);
        }
        let mut uploads = 0;
        for image in self.all_in(Status::Saving).await? {
            if image.ticket.is_none_or(|ticket| ticket.boot != self.boot) && !stay.contains(&image.id) {
                match self.end_dead_upload(&image).await {
                    Ok(()) => uploads += 1,
                    // It stays as it is, and the next start tries again: no reason not to serve the others.
                    Err(error) => log::error!("the upload of {} could not be ended: {error}", image.id),
                }
            }
        }
        let removals = self.sweep().await?;
        Ok(Swept { uploads, removals, staged })
    }

    /// The file may have been put in place just before the process died; it was never announced to anybody. Unless
    /// changes were lost, for then this may be an old version of an image whose bytes were: they stay, and `visor
    /// verify` shows them.
    async fn end_dead_upload(&self, image: &Image) -> Result<()> {
        if self.catalog.may_have_lost_changes() {
            let failed = Image { status: Status::Failed, ticket: None, ..image.clone() };
            return self.catalog.replace(failed).await.map(drop);
        }
        for key in image.keys() {
            self.store.delete(&key).await?;
        }
        self.catalog.amend(image.id, |row| Ok(fallen_back(row.clone()))).await.map(drop)
    }

    /// Tries removals again that could not be finished, and keeps the counters of reads. Called by a timer.
    ///
    /// # Errors
    /// `Internal` when the catalogue does not work.
    pub async fn sweep(&self) -> Result<usize> {
        let mut gone = self.all_in(Status::Deleting).await?;
        let count = gone.len();
        gone.sort_by_key(|image| std::cmp::Reverse(image.updated_at));
        for (at, image) in gone.into_iter().enumerate() {
            match at < LINGERING_MAX {
                true => self.remove_deleted(image).await,
                false => self.remove_files(image).await,
            }
        }
        self.expire_resumables().await?;
        self.expire().await?;
        self.catalog.keep_accesses();
        Ok(count)
    }
}
