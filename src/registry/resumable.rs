//! Uploads that survive their client, the network and the end of the server.
//!
//! The record is the image itself, in the state *saving*, with a ticket that says how many bytes are durable: nothing else
//! has to be kept or found again. Its bytes are what a store's writer has kept. Where the digests stand is remembered
//! between two requests, and found out by reading after a restart.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::desk::{Parked, Seat};
use super::intake::Intake;
use super::lanes::Digesting;
use super::publish::publish;
use super::saving::{Saving, is_saving};
use super::{Caller, Claim, Registry};
use crate::catalog::not_found;
use crate::error::{Error, Kind, Result};
use crate::image::query::Filter;
use crate::image::{Attr, BlobKey, Image, ImageId, ImagePatch, Resumable, Status, Ticket, Timestamp};

/// An upload that nobody goes on with is given up after this.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// Begins an upload that comes in pieces: of a new image, or into one that takes bytes.
    ///
    /// # Errors
    /// As [`Registry::upload`].
    pub async fn begin_resumable(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Claim,
    ) -> Result<Progress> {
        let Claim { size, digests } = claim;
        let resumable = Resumable { offset: 0, size, digests, expires_at: self.expiry() };
        let (mut saving, key) = self.expect_bytes(who, into, patch, &claim, Some(resumable)).await?;
        let mut writer = self.store.begin(&key, size).await?;
        writer.keep().await?;
        saving.disarm();
        Progress::of(self.catalog.get(saving.id()).await?)
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

    async fn progress_now(&self, who: &Caller, id: ImageId) -> Result<Progress> {
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
        let slot = self.upload_slot()?;
        let mut seat = self.desks.take(id).await?;
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
        let claim = Claim { size: progress.size.or(size), digests: ticket.digests };
        let key = BlobKey::whole(id, progress.image.format);
        let mut writer = self.store.resume(&key, offset).await?;
        let digesting = match seat.parked.take() {
            Some((at, digesting)) if at == offset => digesting,
            _ => Digesting::of(writer.reread().await?, &self.buffers).await?.1,
        };
        let size = claim.size;
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

    async fn end_upload(&self, image: &Image) -> Result<()> {
        self.store.delete(&BlobKey::whole(image.id, image.format)).await?;
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

    /// The uploads that are in pieces, with the keys of their bytes.
    pub(super) async fn resumables(&self) -> Result<Vec<(Image, Resumable)>> {
        let saving = self.all(Filter::spelled(Attr::Status, Status::Saving.word())).await?;
        let resumable = |image: Image| Some((image.ticket?.resumable?, image));
        Ok(saving.into_iter().filter_map(resumable).map(|(resumable, image)| (image, resumable)).collect())
    }

    /// Takes over what an earlier run left of an upload. False when it can't be gone on with.
    pub(super) async fn adopt(&self, image: &Image, resumable: Resumable) -> Result<bool> {
        let key = BlobKey::whole(image.id, image.format);
        if resumable.expires_at <= self.now() || self.store.resume(&key, resumable.offset).await.is_err() {
            return Ok(false);
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
        for (image, resumable) in &live {
            if resumable.expires_at <= self.now()
                && let Some(_seat) = self.desks.take_free(image.id)
            {
                log::info!("the upload of {} is given up: nobody went on with it for a day", image.id);
                self.end_upload(image).await?;
            }
        }
        self.desks.clear(&live.iter().map(|(image, _)| image.id).collect::<Vec<_>>());
        Ok(())
    }

    /// Makes what was taken durable, says so in the record, and leaves the seat.
    async fn park(&self, id: ImageId, size: Option<u64>, intake: Intake, mut seat: Seat) -> Result<Progress> {
        let (offset, digesting) = intake.pause().await?;
        let image = self.note(id, offset, size).await?;
        let parked: &mut Parked = &mut seat.parked;
        *parked = Some((offset, digesting));
        Progress::of(image)
    }
}

impl Append {
    /// Takes a chunk. After an error the upload stands where it last was durable, and may be gone on with.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when there is more than was announced, `StoreFull`, `Internal`; `NotFound` when the
    /// image was removed meanwhile.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let outcome = self.take(chunk).await;
        if outcome.is_err()
            && let Some((intake, seat)) = self.work.take()
        {
            // The writer is unsound. What it kept is not, once nothing more of it reaches the disk.
            intake.leave().await;
            drop(seat);
        }
        outcome
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

    /// Ends the request, and not the upload: what was taken is durable when this returns.
    ///
    /// # Errors
    /// `Internal`; `NotFound` when the image was removed meanwhile.
    pub async fn pause(mut self) -> Result<Progress> {
        let (intake, seat) = self.work.take().ok_or_else(over)?;
        self.registry.park(self.id, self.size, intake, seat).await
    }

    /// Ends the upload: as [`super::Upload::finish`], but what is wrong with the patch does not lose the bytes.
    ///
    /// # Errors
    /// As [`super::Upload::finish`]; `Incomplete` when bytes are missing.
    pub async fn finish(mut self, patch: &ImagePatch) -> Result<Image> {
        let ready = async {
            if let Some(size) = self.size.filter(|size| *size != self.received()) {
                let text = format!("The upload has {} of {size} bytes.", self.received());
                return Err(Error::new(Kind::Incomplete, text));
            }
            self.registry.check_patch(&self.who, self.id, patch).await
        };
        if let Err(error) = ready.await {
            self.pause().await?;
            return Err(error);
        }
        let (intake, _seat) = self.work.take().ok_or_else(over)?;
        let mut saving = Saving::adopt(&self.registry, self.id);
        match intake.finish().await {
            Ok((size, digests, writer)) => {
                let part = self.registry.received_part(&self.key, size, digests);
                publish(saving, self.key.clone(), part, patch.clone(), writer).await
            }
            Err(error) => {
                saving.put_back().await;
                Err(error)
            }
        }
    }
}

impl Drop for Append {
    /// A client that goes away may take the request with it, but not what it sent.
    fn drop(&mut self) {
        let Some((intake, seat)) = self.work.take() else { return };
        let (registry, id, size) = (Arc::clone(&self.registry), self.id, self.size);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = registry.park(id, size, intake, seat).await {
                    log::warn!("what came last of the upload of {id} is lost: {error}");
                }
            });
        }
    }
}

fn over() -> Error {
    Error::internal("the upload is over")
}

fn no_upload(id: ImageId) -> Error {
    Error::new(Kind::NotFound, format!("No upload found with id '{id}'."))
}
