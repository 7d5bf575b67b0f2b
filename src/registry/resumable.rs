//! Uploads that survive their client, the network and the end of the server.
//!
//! The record is the image itself, in the state *saving*, with a ticket that says how many bytes are durable: nothing else
//! has to be kept or found again. Its bytes are what a store's writer has kept. Where the digests stand is remembered
//! between two requests, and found out by reading after a restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::desk::Seat;
use super::images::format_is_fixed;
use super::intake::{Intake, over};
use super::publish::publish;
use super::saving::{Saving, is_saving};
use super::{Caller, Claim, Registry};
use crate::blob::StoreError;
use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::{BlobKey, Image, ImageId, ImagePatch, Resumable, Status, Ticket, Timestamp};

/// An upload that nobody goes on with is given up after this.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Uploads that a caller may have open.
const OPEN_MAX: usize = 256;

/// After so many bytes they are made durable on the way: what a crash costs at the most.
const CHECKPOINT_BYTES: u64 = 64 << 20;

/// How far an upload is.
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its image.
    pub image: Image,
    /// So many bytes are durable.
    pub offset: u64,
    /// How many there will be, if that is known.
    pub size: Option<u64>,
    /// When it is given up; none when it is complete.
    pub expires_at: Option<Timestamp>,
}

impl Progress {
    fn of(image: Image) -> Result<Self> {
        match (image.ticket.and_then(|ticket| ticket.resumable), image.status) {
            (Some(Resumable { offset, size, expires_at, .. }), Status::Saving) => {
                Ok(Self { image, offset, size, expires_at: Some(expires_at) })
            }
            (_, Status::Available) => {
                let size = image.size();
                Ok(Self { image, offset: size.unwrap_or(0), size, expires_at: None })
            }
            _ => Err(no_upload(image.id)),
        }
    }

    /// Whether all bytes are there and the image is available.
    pub fn is_complete(&self) -> bool {
        self.expires_at.is_none()
    }
}

/// Bytes on their way into an upload. What was taken stays when this is dropped; see [`Append::pause`].
pub struct Append {
    /// There until the end.
    work: Option<(Intake, Seat)>,
    registry: Arc<Registry>,
    id: ImageId,
    key: BlobKey,
    size: Option<u64>,
    /// So many bytes are durable.
    kept: u64,
    who: Caller,
}

impl Registry {
    /// Begins an upload that comes in pieces: of a new image, or into one that takes bytes. Room is set aside when the
    /// first of them come.
    ///
    /// # Errors
    /// As [`Registry::upload`]; `Busy` when the caller has too many that are not finished.
    pub async fn begin_resumable(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Claim,
    ) -> Result<Progress> {
        let open = self.resumables().await?.into_iter().filter(|(image, _)| image.owner.as_deref() == who.account());
        if open.count() >= OPEN_MAX {
            return Err(Error::new(Kind::Busy, "Too many uploads are not finished; finish or delete some."));
        }
        let (registry, who, patch) = (Arc::clone(self), who.clone(), patch.clone());
        // A task of its own: a caller that goes away must not leave a file that no record names.
        let begun = tokio::spawn(async move {
            let Claim { size, digests } = claim;
            let resumable = Resumable { offset: 0, size, digests, expires_at: registry.expiry() };
            let (mut saving, key) = registry.expect_bytes(&who, into.into(), &patch, &claim, Some(resumable)).await?;
            let kept = async { registry.store.begin(&key, None).await?.keep().await };
            if let Err(error) = kept.await {
                // What it left is of nobody's as soon as the row is back.
                let _ = registry.store.delete(&key).await;
                return Err(error.into());
            }
            saving.disarm();
            Progress::of(registry.catalog.get(saving.id()).await?)
        });
        begun.await.map_err(Error::internal)?
    }

    /// How far an upload is. Whoever is writing to it is asked to stop: who asks this wants to go on.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Busy` when the other does not stop in time.
    pub async fn progress(&self, who: &Caller, id: ImageId) -> Result<Progress> {
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Ok(progress);
        }
        let _seat = self.desks.take(id).await?;
        self.progress_now(who, id).await
    }

    pub(super) async fn progress_now(&self, who: &Caller, id: ImageId) -> Result<Progress> {
        let image = self.get(who, id).await?;
        who.may_change(&image)?;
        Progress::of(image)
    }

    /// Goes on with an upload behind its first `offset` bytes. A sender that knows now how many there are says so.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when the upload is complete, stands at another offset, or has another
    /// size.
    pub async fn append(self: &Arc<Self>, who: &Caller, id: ImageId, offset: u64, size: Option<u64>) -> Result<Append> {
        self.progress_now(who, id).await?;
        // Before the slot: whoever has the seat may have the last one.
        let mut seat = self.desks.take(id).await?;
        let slot = self.upload_slot()?;
        let progress = self.progress_now(who, id).await?;
        let Some(ticket) = progress.image.ticket.and_then(|ticket| ticket.resumable) else {
            return Err(Error::new(Kind::Conflict, "The upload is complete."));
        };
        if progress.offset != offset {
            let text = format!("The upload stands at {}, not at {offset}.", progress.offset);
            return Err(Error::new(Kind::Conflict, text));
        }
        if let (Some(known), Some(said)) = (progress.size, size)
            && known != said
        {
            return Err(Error::new(Kind::Conflict, format!("The upload has {known} bytes in all, not {said}.")));
        }
        let size = progress.size.or(size);
        if size.is_some_and(|size| size < offset) {
            return Err(Error::invalid(format!("The upload has {offset} bytes already.")));
        }
        let claim = Claim { size, digests: ticket.digests };
        if offset == 0 {
            self.check_room(&claim).await?;
        }
        let key = BlobKey::main(id, progress.image.format);
        let mut writer = self.store.resume(&key, offset, size).await?;
        let digesting = match seat.parked.take() {
            Some((at, digesting)) if at == offset => digesting,
            _ => tokio::select! {
                read = self.hub.digest(writer.reread().await?, &self.buffers) => read?.1,
                () = seat.wanted() => return Err(taken_over()),
            },
        };
        let intake = Intake::start(self, writer, offset, digesting, claim, slot)?;
        let (registry, who) = (Arc::clone(self), who.clone());
        Ok(Append { work: Some((intake, seat)), registry, id, key, size, kept: offset, who })
    }

    /// Gives an upload up. What it was into is as if it had not been tried.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when it is complete.
    pub async fn cancel(&self, who: &Caller, id: ImageId) -> Result<()> {
        self.progress_now(who, id).await?;
        let _seat = self.desks.take(id).await?;
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Err(Error::new(Kind::Conflict, "The upload is complete; delete the image."));
        }
        self.end_upload(&progress.image).await
    }

    /// Ends an upload whose seat is the caller's. The row first: a catalogue that can't be changed any more may have said
    /// *available* before it stopped.
    async fn end_upload(&self, image: &Image) -> Result<()> {
        self.note(image.id, 0, None).await?;
        self.store.delete(&BlobKey::main(image.id, image.format)).await?;
        self.put_back(image.id).await;
        Ok(())
    }

    fn expiry(&self) -> Timestamp {
        Timestamp(self.now().0.saturating_add(i64::try_from(LIFETIME.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Writes down how far an upload is.
    async fn note(&self, id: ImageId, offset: u64, size: Option<u64>) -> Result<Image> {
        let (boot, expires_at) = (self.boot, self.expiry());
        let noted = self.catalog.amend(id, move |row| {
            let ticket = row.ticket.filter(|_| is_saving(row, boot)).ok_or_else(|| not_found(id))?;
            let resumable = ticket.resumable.ok_or_else(|| not_found(id))?;
            let size = resumable.size.or(size);
            let resumable = Some(Resumable { offset, size, expires_at, ..resumable });
            Ok(Some(Image { ticket: Some(Ticket { resumable, ..ticket }), ..row.clone() }))
        });
        noted.await?.ok_or_else(|| not_found(id))
    }

    /// The uploads that are in pieces.
    pub(super) async fn resumables(&self) -> Result<Vec<(Image, Resumable)>> {
        let resumable = |image: Image| image.ticket?.resumable.map(|resumable| (image, resumable));
        Ok(self.all_in(Status::Saving).await?.into_iter().filter_map(resumable).collect())
    }

    /// Takes over what an earlier run left of an upload. False when it can't be gone on with.
    pub(super) async fn adopt(&self, image: &Image, resumable: Resumable) -> Result<bool> {
        let key = BlobKey::main(image.id, image.format);
        if resumable.expires_at <= self.now() {
            return Ok(false);
        }
        match self.store.resume(&key, resumable.offset, None).await {
            Err(StoreError::NotFound) => return Ok(false),
            found => drop(found?),
        }
        let boot = self.boot;
        let adopt = move |row: &Image| {
            Ok(Some(Image { ticket: row.ticket.map(|ticket| Ticket { boot, ..ticket }), ..row.clone() }))
        };
        self.catalog.amend(image.id, adopt).await.map(|_| true)
    }

    /// Ends the uploads that nobody went on with. Called from time to time.
    pub(super) async fn expire_resumables(&self) -> Result<()> {
        let live = self.resumables().await?;
        for (image, _) in live.iter().filter(|(_, resumable)| resumable.expires_at <= self.now()) {
            let Some(_seat) = self.desks.take_free(image.id) else { continue };
            // Somebody may have come back meanwhile.
            let Ok(image) = self.catalog.get(image.id).await else { continue };
            let expires_at = image.ticket.and_then(|ticket| ticket.resumable).map(|resumable| resumable.expires_at);
            if image.status == Status::Saving && expires_at.is_some_and(|at| at <= self.now()) {
                log::info!("the upload of {} is given up: nobody went on with it for a day", image.id);
                if let Err(error) = self.end_upload(&image).await {
                    log::error!("the upload of {} can't be ended, the next sweep tries again: {error}", image.id);
                }
            }
        }
        self.desks.clear(&live.iter().map(|(image, _)| image.id).collect::<Vec<_>>());
        Ok(())
    }

    /// Makes what was taken durable, says so in the record, and leaves the seat.
    async fn park(self: Arc<Self>, id: ImageId, size: Option<u64>, intake: Intake, mut seat: Seat) -> Result<Progress> {
        let (offset, digesting) = intake.pause().await?;
        let image = self.note(id, offset, size).await?;
        *seat.parked = Some((offset, digesting));
        Progress::of(image)
    }
}

impl Append {
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
        let (intake, seat) = self.work.take()?;
        Some(tokio::spawn(Arc::clone(&self.registry).park(self.id, self.size, intake, seat)))
    }

    async fn take(&mut self, chunk: Bytes) -> Result<()> {
        let (intake, _) = self.work.as_mut().ok_or_else(over)?;
        intake.take(chunk).await?;
        if intake.received() - self.kept >= CHECKPOINT_BYTES {
            self.kept = intake.keep().await?;
            self.registry.note(self.id, self.kept, self.size).await?;
        }
        Ok(())
    }

    /// Adds to what the sender says of its bytes.
    pub fn claim(&mut self, more: Claim) {
        if let Some((intake, _)) = &mut self.work {
            intake.claim(more);
        }
    }

    /// Waits until another request wants to go on with this upload: this one should stop.
    pub async fn wanted(&self) {
        match &self.work {
            Some((_, seat)) => seat.wanted().await,
            None => std::future::pending().await,
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
    pub(super) fn ends_here(&mut self) {
        self.size = Some(self.received());
    }

    /// Ends the request, and not the upload: what was taken is durable when this returns.
    ///
    /// # Errors
    /// `Internal`; `NotFound` when the image was removed meanwhile.
    pub async fn pause(mut self) -> Result<Progress> {
        self.park().ok_or_else(over)?.await.map_err(Error::internal)?
    }

    /// Ends the upload: as [`super::Upload::finish`], but what is wrong with the patch does not lose the bytes.
    ///
    /// # Errors
    /// As [`super::Upload::finish`]; `Incomplete` when bytes are missing.
    pub async fn finish(mut self, patch: &ImagePatch) -> Result<Progress> {
        let (registry, received) = (Arc::clone(&self.registry), self.received());
        let (id, size, who) = (self.id, self.size, self.who.clone());
        let ready = async {
            if let Some(size) = size.filter(|size| *size != received) {
                let text = format!("The upload has {received} of {size} bytes.");
                return Err(Error::new(Kind::Incomplete, text));
            }
            // The file that is on its way has its name already.
            let image = registry.catalog.get(id).await?;
            if patch.format.is_some_and(|format| format != image.format) {
                return Err(format_is_fixed());
            }
            registry.check_patch(&who, id, patch).await
        };
        let format = match ready.await {
            Ok(format) => format,
            Err(error) => {
                self.pause().await?;
                return Err(error);
            }
        };
        let (intake, seat) = self.work.take().ok_or_else(over)?;
        let mut saving = Saving::adopt(&self.registry, self.id);
        let (key, patch) = (self.key.clone(), patch.clone());
        let done = tokio::spawn(async move {
            match intake.finish(format).await {
                Ok(received) => Progress::of(publish(saving, key, received, patch, seat).await?),
                Err(error) => {
                    saving.put_back().await;
                    drop(seat);
                    Err(error)
                }
            }
        });
        done.await.map_err(Error::internal)?
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

/// The answer to whoever had the seat.
pub fn taken_over() -> Error {
    Error::new(Kind::Conflict, "Another request goes on with this upload.")
}

fn no_upload(id: ImageId) -> Error {
    Error::new(Kind::NotFound, format!("No upload found with id '{id}'."))
}
