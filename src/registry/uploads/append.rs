//! One request's part of an upload in pieces: appends to the durable bytes, and makes the new ones durable however it
//! ends. Knows no protocol.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::catalog::not_found;
use crate::error::{Error, Reason, Result};
use crate::image::{Image, ImageId, ImagePatch, Resumable, StoreName, StoredAt, Timestamp, UploadTicket};
use crate::ingest::intake::{Intake, over};
use crate::ingest::{ByteSink, Expected};
use crate::jobs::Handle;
use crate::registry::Caller;
use crate::registry::gate::{WayIn, let_in};
use crate::registry::records::format_is_fixed;
use crate::registry::uploads::lock::UploadLock;
use crate::registry::uploads::progress::UploadProgress;
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::{Saving, is_saving};

/// Bytes between two checkpoints, which make them durable: the most that a crash costs.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// Time after which an abandoned upload is given up.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The words to a client whose upload ends with the server.
const PARKED: &str = "The server stops. What has arrived is kept: continue the upload when the server is back.";

/// Time that a request which has sent all announced bytes has for its end, when another one wants to continue or the server stops.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Bytes in transit into an upload. Received bytes stay when this is dropped; see [`Append::pause`].
pub struct Append {
    /// Present until the end.
    work: Option<(Intake, UploadLock)>,
    uploads: Arc<Uploads>,
    id: ImageId,
    place: StoredAt,
    size: Option<u64>,
    is_part: bool,
    /// Number of durable bytes.
    kept: u64,
    who: Caller,
}

impl Append {
    /// Continues an upload behind the bytes that the intake has.
    #[expect(clippy::too_many_arguments, reason = "the fields, once each")]
    pub(in crate::registry) fn new(
        uploads: &Arc<Uploads>,
        who: &Caller,
        id: ImageId,
        place: StoredAt,
        size: Option<u64>,
        is_part: bool,
        intake: Intake,
        lock: UploadLock,
    ) -> Self {
        let (uploads, who, kept) = (Arc::clone(uploads), who.clone(), intake.received());
        Self { work: Some((intake, lock)), uploads, id, place, size, is_part, kept, who }
    }

    /// The blob that gets the bytes.
    pub(in crate::registry) fn place(&self) -> &StoredAt {
        &self.place
    }

    /// Receives a chunk. After an error this is over, and the upload stands at its last durable byte.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when more bytes arrive than announced, `StoreFull`, `Internal`; `NotFound` when the
    /// image was removed meanwhile.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let outcome = self.take(chunk).await;
        if outcome.is_err()
            && let Some(parked) = self.park()
            && let Err(error) = parked.await
        {
            log::debug!("the last bytes of an upload are lost: {error}");
        }
        outcome
    }

    /// Ends the work in a task of its own, as every end has to: bytes may be in transit to the disk, and the next
    /// request must not get the lock before they are durable.
    fn park(&mut self) -> Option<JoinHandle<Result<UploadProgress>>> {
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

    /// Adds to the sender's claim.
    pub fn claim(&mut self, more: Expected) {
        if let Some((intake, _)) = &mut self.work {
            intake.claim(more);
        }
    }

    /// Number of bytes received.
    pub fn received(&self) -> u64 {
        self.work.as_ref().map_or(self.kept, |(intake, _)| intake.received())
    }

    /// Total number of bytes, if it is known.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Tells if this is a part of an upload, which can't be finished by itself.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// Fixes the total at the bytes received.
    pub(in crate::registry) fn ends_here(&mut self) {
        self.size = Some(self.received());
    }

    /// Ends the request, and not the upload: the received bytes are durable when this returns.
    ///
    /// # Errors
    /// `Internal`; `NotFound` when the image was removed meanwhile.
    pub async fn pause(mut self) -> Result<UploadProgress> {
        self.park().ok_or_else(over)?.await.map_err(Error::internal)?
    }

    /// Ends the upload: as [`crate::registry::Upload::finish`], but an invalid patch does not lose the bytes.
    ///
    /// # Errors
    /// As [`crate::registry::Upload::finish`]; `Incomplete` when bytes are missing.
    pub async fn finish(self, patch: &ImagePatch) -> Result<UploadProgress> {
        self.finish_as(WayIn::Pieces, patch, Default::default()).await
    }

    /// Ends the upload, as [`Append::finish`], of bytes that came in this way. The image is available when the stores in `also`
    /// have a copy too.
    pub(in crate::registry) async fn finish_as(
        mut self,
        way: WayIn,
        patch: &ImagePatch,
        also: (Vec<StoreName>, Handle),
    ) -> Result<UploadProgress> {
        let (uploads, received) = (Arc::clone(&self.uploads), self.received());
        let (id, size, is_part, who) = (self.id, self.size, self.is_part, self.who.clone());
        let ready = async {
            if is_part {
                return Err(Error::invalid("A part of an upload is completed only together with the others."));
            }
            if let Some(size) = size.filter(|size| *size != received) {
                return Err(Reason::UploadIncomplete.about(received).and(size));
            }
            // The format decided the file's name already, and can't change any more.
            let image = uploads.core.catalog.get(id).await?;
            if patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            uploads.last_change(&who, id, patch).await
        };
        let (change, declared) = match ready.await {
            Ok(ready) => ready,
            Err(error) => {
                self.pause().await?;
                return Err(error);
            }
        };
        let (intake, lock) = self.work.take().ok_or_else(over)?;
        let mut saving = Saving::adopt(&self.uploads.core, self.id);
        saving.also = also;
        let place = self.place.clone();
        let done = tokio::spawn(async move {
            let arrived = async { let_in(&uploads.core, way, intake.finish().await?, declared).await };
            match arrived.await {
                Ok(arrived) => UploadProgress::of(uploads.publish(saving, place, arrived, None, change, lock).await?),
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

    /// Waits until another request wants to continue this upload, or the server stops.
    async fn interrupted(&mut self) -> Error {
        let has_all = self.size == Some(self.received()) && !self.is_part;
        let Some((_, lock)) = &self.work else { return std::future::pending().await };
        let reason = tokio::select! {
            () = lock.wanted() => taken_over(),
            () = self.uploads.parking() => Reason::Interrupted.saying(PARKED),
        };
        if has_all {
            // Its end is about to come, with all that the sender says last.
            sleep(END_PATIENCE).await;
        }
        reason
    }

    /// Makes the received bytes durable before it returns.
    async fn abandon(&mut self) -> Result<()> {
        match self.park() {
            Some(parked) => parked.await.map_err(Error::internal)?.map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Append {
    /// A client that disconnects may drop the request, but not the bytes written for it.
    fn drop(&mut self) {
        if tokio::runtime::Handle::try_current().is_ok() {
            drop(self.park());
        }
    }
}

impl Uploads {
    /// Expiry of an upload that is written to now.
    pub(in crate::registry) fn expiry(&self) -> Timestamp {
        Timestamp(self.core.now().0.saturating_add(i64::try_from(LIFETIME.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Records the offset of an upload.
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

    /// Makes the received bytes durable, records them, and releases the lock.
    pub(in crate::registry) async fn park(
        self: Arc<Self>,
        id: ImageId,
        size: Option<u64>,
        intake: Intake,
        mut lock: UploadLock,
    ) -> Result<UploadProgress> {
        let (offset, digesting) = intake.pause().await?;
        let image = self.note(id, offset, size).await?;
        *lock.parked = Some((offset, digesting));
        UploadProgress::of(image)
    }
}

/// Error for the request that had the lock.
pub(in crate::registry) fn taken_over() -> Error {
    Reason::UploadTakenOver.into()
}
