//! Uploads in pieces: they survive their client, the network and the end of the server. Knows no protocol.
//!
//! The record is the image itself, in the state *saving*, with a ticket that has the number of durable bytes: no other
//! state is kept. The bytes are with the store's writer. The digest state is remembered between two requests, and
//! computed by reading after a restart.

use std::sync::Arc;

use crate::blob::StoreError;
use crate::error::{Error, Reason, Result};
use crate::image::{BlobKey, Image, ImageId, ImagePatch, Resumable, Status, StoredAt, UploadTicket};
use crate::ingest::Expected;
use crate::ingest::intake::Intake;
use crate::registry::Caller;
use crate::registry::policy::Action;
use crate::registry::uploads::append::{Append, taken_over};
use crate::registry::uploads::lock::UploadLock;
use crate::registry::uploads::progress::UploadProgress;
use crate::registry::uploads::service::Uploads;
use crate::registry::uploads::session::put_back;

/// Open uploads of one caller, at most.
const OPEN_MAX: usize = 256;

impl Uploads {
    /// Begins an upload in pieces: of a new image, or into one that takes bytes. Room is reserved when the first bytes
    /// arrive.
    ///
    /// # Errors
    /// As [`Uploads::begin`]; `Busy` when the caller has too many unfinished uploads.
    pub async fn begin_resumable(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Expected,
    ) -> Result<UploadProgress> {
        self.begin_pieces(who, into, patch, claim, false).await
    }

    /// Begins an upload as [`Uploads::begin_resumable`], or bytes that are staged for an import.
    pub(super) async fn begin_pieces(
        self: &Arc<Self>,
        who: &Caller,
        into: Option<ImageId>,
        patch: &ImagePatch,
        claim: Expected,
        staged: bool,
    ) -> Result<UploadProgress> {
        let open = self.resumables().await?.into_iter().filter(|(image, _)| image.owner.as_deref() == who.account());
        if open.count() >= OPEN_MAX {
            return Err(Reason::TooManyOpenUploads.into());
        }
        let (uploads, who, patch) = (Arc::clone(self), who.clone(), patch.clone());
        // A task of its own: a client that disconnects must not leave a file that no record names.
        let begun = tokio::spawn(async move {
            let Expected { size, digests } = claim;
            let resumable = Resumable { offset: 0, size, digests, expires_at: uploads.expiry(), staged };
            let (mut saving, place) = uploads.expect_bytes(&who, into.into(), &patch, &claim, Some(resumable)).await?;
            let kept = async { uploads.core.stores.begin(&place, None).await?.keep().await };
            if let Err(error) = kept.await {
                // The leftover bytes belong to no upload once the row has fallen back.
                let _ = uploads.core.stores.delete(&place).await;
                return Err(error.into());
            }
            saving.disarm();
            UploadProgress::of(uploads.core.catalog.get(saving.id()).await?)
        });
        begun.await.map_err(Error::internal)?
    }

    /// Progress of an upload. Its current writer is asked to stop: a client that asks for this wants to continue. An upload that
    /// has all of its bytes is finished first: its client would never continue it.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`; `Busy` when the other request does not stop in time; as [`Append::finish`].
    pub async fn progress(self: &Arc<Self>, who: &Caller, id: ImageId) -> Result<UploadProgress> {
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Ok(progress);
        }
        let lock = self.locks.take(id).await?;
        let progress = self.progress_now(who, id).await?;
        match progress.lacks_only_its_end() {
            true => self.complete(who, progress, lock).await,
            false => Ok(progress),
        }
    }

    pub(in crate::registry) async fn progress_now(&self, who: &Caller, id: ImageId) -> Result<UploadProgress> {
        let image = self.records.get(who, id).await?;
        who.may(Action::UploadBytes, &image)?;
        UploadProgress::of(image)
    }

    /// Continues an upload behind its first `offset` bytes. A sender that knows the total by now gives `size`.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when the upload is complete, stands at another offset, or has another
    /// size.
    pub async fn append(self: &Arc<Self>, who: &Caller, id: ImageId, offset: u64, size: Option<u64>) -> Result<Append> {
        self.progress_now(who, id).await?;
        // Before the slot: the holder of the lock may have the last one.
        let lock = self.locks.take(id).await?;
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Err(Reason::UploadComplete.into());
        }
        if progress.offset != offset {
            return Err(Reason::UploadOffset.about(progress.offset).and(offset));
        }
        if let (Some(known), Some(said)) = (progress.size, size)
            && known != said
        {
            return Err(Reason::UploadLength.about(known).and(said));
        }
        let size = progress.size.or(size);
        if size.is_some_and(|size| size < offset) {
            return Err(Error::invalid(format!("The upload has {offset} bytes already.")));
        }
        self.reopen(who, UploadProgress { size, ..progress }, lock, true).await
    }

    /// Opens an upload behind its durable bytes. One that `yields` is left to another request that wants it, as long as its bytes
    /// are read.
    pub(super) async fn reopen(
        self: &Arc<Self>,
        who: &Caller,
        progress: UploadProgress,
        mut lock: UploadLock,
        yields: bool,
    ) -> Result<Append> {
        let slot = self.ingest.slot()?;
        let Some(ticket) = progress.image.ticket.and_then(|ticket| ticket.resumable) else {
            return Err(Reason::UploadComplete.into());
        };
        let (is_part, place) = (progress.is_part(), arriving(&progress.image));
        let UploadProgress { offset, size, .. } = progress;
        let claim = Expected { size, digests: ticket.digests };
        if offset == 0 {
            self.ingest.admit(&place.store, &claim).await?;
        }
        let mut writer = self.core.stores.resume(&place, offset, size).await?;
        let digesting = match lock.parked.take() {
            Some((at, digesting)) if at == offset => digesting,
            _ => tokio::select! {
                read = self.ingest.digest(writer.reread().await?) => read?.1,
                () = lock.wanted(), if yields => return Err(taken_over()),
            },
        };
        let intake = Intake::start(&self.ingest, place.store.clone(), writer, offset, digesting, claim, slot)?;
        Ok(Append::new(self, who, progress.image.id, place, size, is_part, intake, lock))
    }

    /// Gives an upload up. Its image is as before the try.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `Busy`; `Conflict` when the upload is complete.
    pub async fn cancel(&self, who: &Caller, id: ImageId) -> Result<()> {
        self.progress_now(who, id).await?;
        let _seat = self.locks.take(id).await?;
        let progress = self.progress_now(who, id).await?;
        if progress.is_complete() {
            return Err(Reason::UploadComplete.into());
        }
        self.end_upload(&progress.image).await
    }

    /// Ends an upload whose lock the caller holds. The row comes first: a catalogue that can't be changed any more may
    /// have recorded *available* before it stopped.
    pub(in crate::registry) async fn end_upload(&self, image: &Image) -> Result<()> {
        self.note(image.id, 0, None).await?;
        self.core.stores.delete(&arriving(image)).await?;
        put_back(&self.core, image.id).await;
        Ok(())
    }

    /// Lists the uploads in pieces.
    pub(in crate::registry) async fn resumables(&self) -> Result<Vec<(Image, Resumable)>> {
        let resumable = |image: Image| image.ticket?.resumable.map(|resumable| (image, resumable));
        Ok(self.core.all_in(Status::Saving).await?.into_iter().filter_map(resumable).collect())
    }

    /// Takes over an upload of an earlier run. False when it can't continue.
    pub(in crate::registry) async fn adopt(&self, image: &Image, resumable: Resumable) -> Result<bool> {
        // The sender of half of an import has no way to send the rest.
        if resumable.staged && resumable.size != Some(resumable.offset) {
            return Ok(false);
        }
        // A lost journal line may have completed the upload: then the bytes are the image's.
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

    /// Ends those of the uploads meant that have expired. Called by a timer.
    pub(in crate::registry) async fn expire_resumables(&self, meant: impl Fn(&Image) -> bool) -> Result<()> {
        let live = self.resumables().await?;
        let due = live.iter().filter(|(image, resumable)| resumable.expires_at <= self.core.now() && meant(image));
        for (image, _) in due {
            let Some(_seat) = self.locks.take_free(image.id) else { continue };
            // The client may have returned meanwhile.
            let Ok(image) = self.core.catalog.get(image.id).await else { continue };
            let expires_at = image.ticket.and_then(|ticket| ticket.resumable).map(|resumable| resumable.expires_at);
            if image.status == Status::Saving && expires_at.is_some_and(|at| at <= self.core.now()) {
                log::info!("the upload of {} is given up: no bytes arrived for a day", image.id);
                if let Err(error) = self.end_upload(&image).await {
                    log::error!("the upload of {} can't be ended, the next sweep tries again: {error}", image.id);
                }
            }
        }
        self.locks.clear(&live.iter().map(|(image, _)| image.id).collect::<Vec<_>>());
        Ok(())
    }
}

/// Place that the bytes of an upload go to.
pub(in crate::registry) fn arriving(image: &Image) -> StoredAt {
    BlobKey::main(image.id, image.format).in_store(image.home())
}
