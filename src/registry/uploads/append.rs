//! One request's part of an upload in pieces: takes bytes behind those that are durable, and makes what it took durable however it
//! ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::{Image, ImageId, ImagePatch, Resumable, StoredAt, Timestamp, UploadTicket};
use crate::ingest::intake::{Intake, over};
use crate::ingest::{ByteSink, Expected};
use crate::registry::Caller;
use crate::registry::records::format_is_fixed;
use crate::registry::uploads::lock::UploadLock;
use crate::registry::uploads::progress::Progress;
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::{Saving, is_saving};

/// After so many bytes they are made durable on the way: what a crash costs at the most.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// An upload that nobody goes on with is given up after this.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes on their way into an upload. What was taken stays when this is dropped; see [`Append::pause`].
pub struct Append {
    /// There until the end.
    work: Option<(Intake, UploadLock)>,
    uploads: Arc<Uploads>,
    id: ImageId,
    place: StoredAt,
    size: Option<u64>,
    /// So many bytes are durable.
    kept: u64,
    who: Caller,
}

impl Append {
    /// Goes on with an upload behind what the intake has.
    pub(in crate::registry) fn new(
        uploads: &Arc<Uploads>,
        who: &Caller,
        id: ImageId,
        place: StoredAt,
        size: Option<u64>,
        intake: Intake,
        lock: UploadLock,
    ) -> Self {
        let (uploads, who, kept) = (Arc::clone(uploads), who.clone(), intake.received());
        Self { work: Some((intake, lock)), uploads, id, place, size, kept, who }
    }

    /// Takes a chunk. After an error this is over, and the upload stands where it last was durable.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when there is more than was announced, `StoreFull`, `Internal`; `NotFound` when the
    /// image was removed meanwhile.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let outcome = self.take(chunk).await;
        if outcome.is_err()
            && let Some(parked) = self.park()
            && let Err(error) = parked.await
        {
            log::debug!("what came last of an upload is lost: {error}");
        }
        outcome
    }

    /// Ends the work in a task of its own, as every end has to: bytes may be on their way to the disk, and nobody may sit
    /// down before they are there.
    fn park(&mut self) -> Option<JoinHandle<Result<Progress>>> {
        let (intake, lock) = self.work.take()?;
        Some(tokio::spawn(Arc::clone(&self.uploads).park(self.id, self.size, intake, lock)))
    }

    async fn take(&mut self, chunk: Bytes) -> Result<()> {
        let (intake, _) = self.work.as_mut().ok_or_else(over)?;
        intake.take(chunk).await?;
        if intake.received() - self.kept >= CHECKPOINT_BYTES {
            self.kept = intake.keep().await?;
            self.uploads.note(self.id, self.kept, self.size).await?;
        }
        Ok(())
    }

    /// Adds to what the sender says of its bytes.
    pub fn claim(&mut self, more: Expected) {
        if let Some((intake, _)) = &mut self.work {
            intake.claim(more);
        }
    }

    /// How many bytes there are.
    pub fn received(&self) -> u64 {
        self.work.as_ref().map_or(self.kept, |(intake, _)| intake.received())
    }

    /// How many there will be, if that is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Says that what came is all there is.
    pub(in crate::registry) fn ends_here(&mut self) {
        self.size = Some(self.received());
    }

    /// Ends the request, and not the upload: what was taken is durable when this returns.
    ///
    /// # Errors
    /// `Internal`; `NotFound` when the image was removed meanwhile.
    pub async fn pause(mut self) -> Result<Progress> {
        self.park().ok_or_else(over)?.await.map_err(Error::internal)?
    }

    /// Ends the upload: as [`crate::registry::Upload::finish`], but what is wrong with the patch does not lose the bytes.
    ///
    /// # Errors
    /// As [`crate::registry::Upload::finish`]; `Incomplete` when bytes are missing.
    pub async fn finish(mut self, patch: &ImagePatch) -> Result<Progress> {
        let (uploads, received) = (Arc::clone(&self.uploads), self.received());
        let (id, size, who) = (self.id, self.size, self.who.clone());
        let ready = async {
            if let Some(size) = size.filter(|size| *size != received) {
                let text = format!("The upload has {received} of {size} bytes.");
                return Err(Error::new(Kind::Incomplete, text));
            }
            // The file that is on its way has its name already.
            let image = uploads.core.catalog.get(id).await?;
            if patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            uploads.last_change(&who, id, patch).await
        };
        let (change, format) = match ready.await {
            Ok(ready) => ready,
            Err(error) => {
                self.pause().await?;
                return Err(error);
            }
        };
        let (intake, lock) = self.work.take().ok_or_else(over)?;
        let mut saving = Saving::adopt(&self.uploads.core, self.id);
        let place = self.place.clone();
        let done = tokio::spawn(async move {
            match intake.finish(format).await {
                Ok(received) => Progress::of(uploads.publish(saving, place, received, None, change, lock).await?),
                Err(error) => {
                    saving.put_back().await;
                    drop(lock);
                    Err(error)
                }
            }
        });
        done.await.map_err(Error::internal)?
    }
}

impl ByteSink for Append {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        Append::write(self, chunk).await
    }

    /// Waits until another request wants to go on with this upload.
    async fn interrupted(&mut self) -> Error {
        match &self.work {
            Some((_, lock)) => lock.wanted().await,
            None => std::future::pending().await,
        }
        taken_over()
    }

    /// What was taken is durable when this returns.
    async fn abandon(&mut self) -> Result<()> {
        match self.park() {
            Some(parked) => parked.await.map_err(Error::internal)?.map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Append {
    /// A client that goes away may take the request with it, but not what was written of its bytes.
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(self.park());
        }
    }
}

impl Uploads {
    /// When an upload that is written to now is given up.
    pub(in crate::registry) fn expiry(&self) -> Timestamp {
        Timestamp(self.core.now().0.saturating_add(i64::try_from(LIFETIME.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Writes down how far an upload is.
    pub(in crate::registry) async fn note(&self, id: ImageId, offset: u64, size: Option<u64>) -> Result<Image> {
        let (boot, expires_at) = (self.core.boot, self.expiry());
        let noted = self.core.catalog.amend(id, move |row| {
            let ticket = row.ticket.filter(|_| is_saving(row, boot)).ok_or_else(|| not_found(id))?;
            let resumable = ticket.resumable.ok_or_else(|| not_found(id))?;
            let size = resumable.size.or(size);
            let resumable = Some(Resumable { offset, size, expires_at, ..resumable });
            Ok(Some(Image { ticket: Some(UploadTicket { resumable, ..ticket }), ..row.clone() }))
        });
        noted.await?.ok_or_else(|| not_found(id))
    }

    /// Makes what was taken durable, says so in the record, and leaves the lock.
    pub(in crate::registry) async fn park(
        self: Arc<Self>,
        id: ImageId,
        size: Option<u64>,
        intake: Intake,
        mut lock: UploadLock,
    ) -> Result<Progress> {
        let (offset, digesting) = intake.pause().await?;
        let image = self.note(id, offset, size).await?;
        *lock.parked = Some((offset, digesting));
        Progress::of(image)
    }
}

/// The answer to the request that had the lock.
pub(in crate::registry) fn taken_over() -> Error {
    Error::new(Kind::Conflict, "Another request goes on with this upload.")
}
