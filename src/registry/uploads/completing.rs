//! Uploads in pieces that have all announced bytes and lack their end: the request of the last piece was cut, or the server died. The
//! next request or the next start finishes them. Knows no protocol.

use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::image::{ImageId, ImagePatch};
use crate::registry::Caller;
use crate::registry::uploads::lock::UploadLock;
use crate::registry::uploads::progress::UploadProgress;
use crate::registry::uploads::service::Uploads;

impl UploadProgress {
    /// Tells if all announced bytes are durable, and nothing but the end of the upload is missing.
    pub(in crate::registry) fn lacks_only_its_end(&self) -> bool {
        !self.is_complete() && !self.is_part() && !self.is_staged() && self.size == Some(self.offset)
    }
}

impl Uploads {
    /// Finishes an upload that lacks only its end. In a task of its own: requests for its progress, each of which may be dropped, must
    /// not begin it again and again.
    ///
    /// # Errors
    /// `Busy`; as [`crate::registry::Append::finish`].
    pub(in crate::registry) async fn complete(
        self: &Arc<Self>,
        who: &Caller,
        progress: UploadProgress,
        lock: UploadLock,
    ) -> Result<UploadProgress> {
        let (uploads, who) = (Arc::clone(self), who.clone());
        let done = tokio::spawn(async move {
            let append = uploads.reopen(&who, progress, lock, false).await?;
            append.finish(&ImagePatch::default()).await
        });
        done.await.map_err(Error::internal)?
    }

    /// Finishes those of these uploads that lack only their end, one after another and behind the start of the server. What can't
    /// be finished now is left to the request that asks for it.
    pub(in crate::registry) fn complete_later(self: &Arc<Self>, ids: Vec<ImageId>) {
        let uploads = Arc::clone(self);
        tokio::spawn(async move {
            for id in ids {
                if let Err(error) = uploads.complete_left(id).await {
                    let level = if error.kind() == Kind::Busy { log::Level::Debug } else { log::Level::Warn };
                    log::log!(level, "the upload of {id}, which has all of its bytes, could not be finished: {error}");
                }
            }
        });
    }

    async fn complete_left(self: &Arc<Self>, id: ImageId) -> Result<()> {
        // A request has it, and finishes it.
        let Some(lock) = self.locks.take_free(id) else { return Ok(()) };
        let who = Caller::Admin(None);
        let progress = self.progress_now(&who, id).await?;
        if progress.lacks_only_its_end() {
            self.complete(&who, progress, lock).await?;
            log::info!("the upload of {id} had all of its bytes, and is finished");
        }
        Ok(())
    }
}
