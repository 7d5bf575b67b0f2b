//! Uploads that survive their client, the network and the end of the server.
//!
//! The record is the image itself, in the state *saving*, with a ticket that says how many bytes are durable: nothing else
//! has to be kept or found again. Its bytes are what a store's writer has kept. Where the digests stand is remembered
//! between two requests, and found out by reading after a restart.

use std::sync::Arc;

use crate::blob::StoreError;
use crate::error::{Error, Kind, Result};
use crate::image::{BlobKey, Image, ImageId, ImagePatch, Resumable, Status, StoredAt, UploadTicket};
use crate::ingest::Expected;
use crate::ingest::intake::Intake;
use crate::registry::Caller;
use crate::registry::policy::Action;
use crate::registry::uploads::append::{Append, taken_over};
use crate::registry::uploads::progress::Progress;
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::put_back;

/// Uploads that a caller may have open.
const OPEN_MAX: usize = 256;

impl Uploads {
    /// Begins an upload that comes in pieces: of a new image, or into one that takes bytes. Room is set aside when the
    /// first of them come.
    ///
    /// # Errors
    /// As [`Uploads::begin`]; `Busy` when the caller has too many that are not finished.
    pub async fn begin_resumable(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Expected,
    ) -> Result<Progress> {
        let open = self.resumables().await?.into_iter().filter(|(image, _)| image.owner.as_deref() == who.account());
        if open.count() >= OPEN_MAX {
            return Err(Error::new(Kind::Busy, "Too many uploads are not finished; finish or delete some."));
        }
        let (uploads, who, patch) = (Arc::clone(self), who.clone(), patch.clone());
        // A task of its own: a caller that goes away must not leave a file that no record names.
        let begun = tokio::spawn(async move {
            let Expected { size, digests } = claim;
            let resumable = Resumable { offset: 0, size, digests, expires_at: uploads.expiry() };
            let (mut saving, place) = uploads.expect_bytes(&who, into.into(), &patch, &claim, Some(resumable)).await?;
            let kept = async { uploads.core.stores.begin(&place, None).await?.keep().await };
            if let Err(error) = kept.await {
                // What it left is of nobody's as soon as the row is back.
                let _ = uploads.core.stores.delete(&place).await;
                return Err(error.into());
            }
            saving.disarm();
            Progress::of(uploads.core.catalog.get(saving.id()).await?)
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
        let _seat = self.locks.take(id).await?;
        self.progress_now(who, id).await
    }

    pub(in crate::registry) async fn progress_now(&self, who: &Caller, id: ImageId) -> Result<Progress> {
        let image = self.records.get(who, id).await?;
        who.may(Action::UploadBytes, &image)?;
        Progress::of(image)
    }

    /// Goes on with an upload behind its first `offset` bytes. A sender that knows now how many there are says so.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when the upload is complete, stands at another offset, or has another
    /// size.
    pub async fn append(self: &Arc<Self>, who: &Caller, id: ImageId, offset: u64, size: Option<u64>) -> Result<Append> {
        self.progress_now(who, id).await?;
        // Before the slot: whoever has the lock may have the last one.
        let mut lock = self.locks.take(id).await?;
        let slot = self.ingest.slot()?;
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
        let claim = Expected { size, digests: ticket.digests };
        let place = arriving(&progress.image);
        if offset == 0 {
            self.ingest.admit(&place.store, &claim).await?;
        }
        let mut writer = self.core.stores.resume(&place, offset, size).await?;
        let digesting = match lock.parked.take() {
            Some((at, digesting)) if at == offset => digesting,
            _ => tokio::select! {
                read = self.ingest.digest(writer.reread().await?) => read?.1,
                () = lock.wanted() => return Err(taken_over()),
            },
        };
        let intake = Intake::start(&self.ingest, place.store.clone(), writer, offset, digesting, claim, slot)?;
        Ok(Append::new(self, who, id, place, size, intake, lock))
    }

    /// Gives an upload up. What it was into is as if it had not been tried.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when it is complete.
    pub async fn cancel(&self, who: &Caller, id: ImageId) -> Result<()> {
        self.progress_now(who, id).await?;
        let _seat = self.locks.take(id).await?;
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Err(Error::new(Kind::Conflict, "The upload is complete; delete the image."));
        }
        self.end_upload(&progress.image).await
    }

    /// Ends an upload whose lock is the caller's. The row first: a catalogue that can't be changed any more may have said
    /// *available* before it stopped.
    async fn end_upload(&self, image: &Image) -> Result<()> {
        self.note(image.id, 0, None).await?;
        self.core.stores.delete(&arriving(image)).await?;
        put_back(&self.core, image.id).await;
        Ok(())
    }

    /// The uploads that are in pieces.
    pub(in crate::registry) async fn resumables(&self) -> Result<Vec<(Image, Resumable)>> {
        let resumable = |image: Image| image.ticket?.resumable.map(|resumable| (image, resumable));
        Ok(self.core.all_in(Status::Saving).await?.into_iter().filter_map(resumable).collect())
    }

    /// Takes over what an earlier run left of an upload. False when it can't be gone on with.
    pub(in crate::registry) async fn adopt(&self, image: &Image, resumable: Resumable) -> Result<bool> {
        // A journal that lost lines may have said that it was complete: then its bytes are the image's.
        if resumable.expires_at <= self.core.now() || self.core.catalog.may_have_lost_changes() {
            return Ok(false);
        }
        match self.core.stores.resume(&arriving(image), resumable.offset, None).await {
            Err(StoreError::NotFound) => return Ok(false),
            found => drop(found?),
        }
        let boot = self.core.boot;
        let adopt = move |row: &Image| {
            Ok(Some(Image { ticket: row.ticket.map(|ticket| UploadTicket { boot, ..ticket }), ..row.clone() }))
        };
        self.core.catalog.amend(image.id, adopt).await.map(|_| true)
    }

    /// Ends those of the uploads meant that nobody went on with. Called from time to time.
    pub(in crate::registry) async fn expire_resumables(&self, meant: impl Fn(&Image) -> bool) -> Result<()> {
        let live = self.resumables().await?;
        let due = live.iter().filter(|(image, resumable)| resumable.expires_at <= self.core.now() && meant(image));
        for (image, _) in due {
            let Some(_seat) = self.locks.take_free(image.id) else { continue };
            // Somebody may have come back meanwhile.
            let Ok(image) = self.core.catalog.get(image.id).await else { continue };
            let expires_at = image.ticket.and_then(|ticket| ticket.resumable).map(|resumable| resumable.expires_at);
            if image.status == Status::Saving && expires_at.is_some_and(|at| at <= self.core.now()) {
                log::info!("the upload of {} is given up: nobody went on with it for a day", image.id);
                if let Err(error) = self.end_upload(&image).await {
                    log::error!("the upload of {} can't be ended, the next sweep tries again: {error}", image.id);
                }
            }
        }
        self.locks.clear(&live.iter().map(|(image, _)| image.id).collect::<Vec<_>>());
        Ok(())
    }
}

/// Where the bytes of an upload go.
fn arriving(image: &Image) -> StoredAt {
    BlobKey::main(image.id, image.format).in_store(image.home())
}
