//! Bytes put aside for an image, which an import makes its own: an upload in pieces of which there is one, and which is not
//! finished yet.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Kind, Result};
use crate::image::{ImageId, ImagePatch};
use crate::ingest::intake::over;
use crate::ingest::{ByteSink, Expected};
use crate::registry::Caller;
use crate::registry::uploads::append::Append;
use crate::registry::uploads::progress::Progress;
use crate::registry::uploads::service::Uploads;

impl Uploads {
    /// Puts bytes aside for an image, which become its own by [`crate::registry::Mirror::import_staged`]. For a day, if nobody does that.
    /// What is left of an earlier try that was interrupted goes.
    ///
    /// # Errors
    /// As [`Uploads::begin_resumable`].
    pub async fn stage(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
        claim: Expected,
    ) -> Result<Stage> {
        if let Ok(left) = self.progress_now(who, id).await
            && !left.is_complete()
            && left.size != Some(left.offset)
            && self.locks.take_free(id).is_some()
        {
            self.cancel(who, id).await?;
        }
        let (uploads, who, patch) = (Arc::clone(self), who.clone(), patch.clone());
        // A task of its own: what it begins for a caller that went away is given up as its unclaimed result.
        let begun = tokio::spawn(async move {
            let size = claim.size;
            uploads.begin_resumable(&who, Some(id), &patch, claim).await?;
            let mut stage = Stage { uploads, who, id, size, append: None, done: false };
            stage.append = Some(stage.uploads.append(&stage.who, id, 0, None).await?);
            Ok(stage)
        });
        begun.await.map_err(Error::internal)?
    }
}

/// Bytes on their way aside. Given up when this is dropped before its end.
pub struct Stage {
    uploads: Arc<Uploads>,
    who: Caller,
    id: ImageId,
    size: Option<u64>,
    append: Option<Append>,
    /// Whether there is nothing to give up.
    done: bool,
}

impl Stage {
    /// All bytes are there, and durable when this returns.
    ///
    /// # Errors
    /// `DigestMismatch` when there are fewer than announced; as [`Append::pause`].
    pub async fn finish(mut self) -> Result<Progress> {
        let mut append = self.append.take().ok_or_else(over)?;
        if let Some(size) = self.size
            && size != append.received()
        {
            let text = format!("The file has {} bytes, not {size} as announced.", append.received());
            self.append = Some(append);
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        append.ends_here();
        let progress = append.pause().await?;
        self.done = true;
        Ok(progress)
    }
}

impl ByteSink for Stage {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match &mut self.append {
            Some(append) => append.write(chunk).await,
            None => Err(over()),
        }
    }

    /// Dropping it does the rest.
    async fn abandon(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Leaves its lock, which the other end waits for.
        drop(self.append.take());
        if self.done || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let (uploads, who, id) = (Arc::clone(&self.uploads), self.who.clone(), self.id);
        tokio::spawn(async move {
            if let Err(error) = uploads.cancel(&who, id).await {
                log::debug!("what was put aside for {id} stays until it expires: {error}");
            }
        });
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("id", &self.id).finish_non_exhaustive()
    }
}
