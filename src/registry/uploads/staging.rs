//! Staged bytes: put aside for an image until an import makes them its own. An unfinished upload in pieces, one for
//! each image. Knows no protocol.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::error::{Error, Reason, Result};
use crate::image::{ImageId, ImagePatch};
use crate::ingest::intake::over;
use crate::ingest::{ByteSink, Expected};
use crate::registry::Caller;
use crate::registry::unpacking::{Unpacking, is_unpacked};
use crate::registry::uploads::append::Append;
use crate::registry::uploads::progress::UploadProgress;
use crate::registry::uploads::service::Uploads;

impl Uploads {
    /// Stages bytes for an image, which [`crate::registry::Mirror::import_staged`] makes its own; they are given up
    /// after a day without one. Removes the leftover of an interrupted try.
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
        let image = self.records.get(who, id).await?;
        let unpacks = self.core.limits.unpack_imports && is_unpacked(image.declared());
        let size = claim.size;
        // What was announced is the packed file.
        let claim = if unpacks { Expected::default() } else { claim };
        let (uploads, who, patch) = (Arc::clone(self), who.clone(), patch.clone());
        // A task of its own: its unclaimed result gives up the work begun for a client that disconnected.
        let begun = tokio::spawn(async move {
            uploads.begin_pieces(&who, Some(id), &patch, claim, true).await?;
            let mut stage = Stage { uploads, who, id, size, append: None, done: false };
            let append = stage.uploads.append(&stage.who, id, 0, None).await?;
            stage.append = Some(Unpacking::new(append, unpacks));
            Ok(stage)
        });
        begun.await.map_err(Error::internal)?
    }
}

/// Bytes in transit to the stage. Given up when this is dropped before its end.
pub struct Stage {
    uploads: Arc<Uploads>,
    who: Caller,
    id: ImageId,
    size: Option<u64>,
    append: Option<Unpacking<Append>>,
    /// True once there is nothing to give up, or that is on its way.
    done: bool,
}

impl Stage {
    /// Completes the staged bytes, which are durable when this returns.
    ///
    /// # Errors
    /// `DigestMismatch` when fewer bytes arrived than announced; as [`Append::pause`].
    pub async fn finish(mut self) -> Result<UploadProgress> {
        let append = self.append.take().ok_or_else(over)?;
        match ended(append, self.size).await {
            Ok(progress) => {
                self.done = true;
                Ok(progress)
            }
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// Gives the bytes up: the image waits for others when this returns.
    async fn give_up(&mut self) {
        // In a task of its own: the client may disconnect meanwhile.
        if let Some(given_up) = self.begin_to_give_up()
            && let Err(error) = given_up.await
        {
            log::error!("staged bytes of {} could not be given up: {error}", self.id);
        }
    }

    fn begin_to_give_up(&mut self) -> Option<JoinHandle<()>> {
        // Releases the lock, which the other end waits for.
        drop(self.append.take());
        if std::mem::replace(&mut self.done, true) {
            return None;
        }
        let (uploads, who, id) = (Arc::clone(&self.uploads), self.who.clone(), self.id);
        Some(tokio::spawn(async move {
            if let Err(error) = uploads.cancel(&who, id).await {
                log::debug!("staged bytes of {id} stay until they expire: {error}");
            }
        }))
    }
}

/// Ends the staged bytes, of which `size` were announced.
async fn ended(append: Unpacking<Append>, size: Option<u64>) -> Result<UploadProgress> {
    if let Some(size) = size
        && size != append.taken()
    {
        let text = format!("The file has {} bytes, not {size} as announced.", append.taken());
        return Err(Reason::Mismatch.saying(text));
    }
    let mut append = append.finish().await?;
    append.ends_here();
    append.pause().await
}

impl ByteSink for Stage {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        match &mut self.append {
            Some(append) => append.write(chunk).await,
            None => Err(over()),
        }
    }

    async fn abandon(&mut self) -> Result<()> {
        self.give_up().await;
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(self.begin_to_give_up());
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("id", &self.id).finish_non_exhaustive()
    }
}
