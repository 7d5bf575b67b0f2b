//! Uploads: state before bytes, flip after durable and verified bytes, a guard in between.
//!
//! An [`Upload`] is pushed chunks, because an HTTP body can't be handed to another thread. It gathers them into
//! buffers of 1 MiB and hands each to the store's writer and to the digest lanes, which work beside each other.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::images::not_for_bytes;
use super::lanes::Lanes;
use super::publish::publish;
use super::saving::Saving;
use super::{Caller, Claim, Registry};
use crate::blob::{BlobWriter, Buffer};
use crate::error::{Error, Kind, Result};
use crate::image::{
    BlobKey, Fallback, Image, ImageId, ImagePatch, Location, Part, PartKind, Status, StoreName, Ticket,
};

/// After so many bytes the store is asked again how much is free: senders may not say how much comes, and several
/// that say it may together be too many.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// Bytes on their way into an image.
pub struct Upload {
    // Dropped in this order: the staged file goes first, then the image falls back.
    writer: Option<Box<dyn BlobWriter>>,
    lanes: Option<Lanes>,
    buffer: Buffer,
    saving: Saving,
    key: BlobKey,
    claim: Claim,
    received: u64,
    /// Bytes since the store was last asked how much is free.
    unchecked: u64,
    who: Caller,
    _slot: OwnedSemaphorePermit,
}

impl Registry {
    /// Begins the upload of a new image. If it does not come to its end, nothing is left of the image.
    ///
    /// # Errors
    /// As [`Registry::create`]; `TooLarge`, `StoreFull`, `Busy`, `Unsupported` store: all before the first byte.
    pub async fn begin_create(self: &Arc<Self>, who: &Caller, patch: &ImagePatch, claim: Claim) -> Result<Upload> {
        let slot = self.admit(&claim).await?;
        let mut image = self.draft(who, patch).await?;
        self.prepare(&mut image, Fallback::Discard)?;
        let key = BlobKey::whole(image.id, image.format);
        let saving = Saving::begin(self, image, true).await?;
        self.start(who, saving, key, claim, slot).await
    }

    /// Begins the upload into an image that takes bytes. If it does not come to its end, the image has failed and
    /// may be tried again.
    ///
    /// # Errors
    /// As [`Registry::begin_create`]; `NotFound`, `Forbidden`; `Conflict` when the image has bytes or gets some now.
    pub async fn begin_upload(
        self: &Arc<Self>,
        who: &Caller,
        id: ImageId,
        patch: &ImagePatch,
        claim: Claim,
    ) -> Result<Upload> {
        let mut image = self.get(who, id).await?;
        who.may_change(&image)?;
        if !image.status.takes_bytes() {
            return Err(not_for_bytes());
        }
        let slot = self.admit(&claim).await?;
        self.change(who, &mut image, patch).await?;
        self.prepare(&mut image, Fallback::Fail)?;
        image.updated_at = Some(self.now());
        let key = BlobKey::whole(image.id, image.format);
        let saving = Saving::begin(self, image, false).await.map_err(|error| match error.kind() {
            Kind::Precondition => not_for_bytes().because(error),
            _ => error,
        })?;
        self.start(who, saving, key, claim, slot).await
    }

    /// Whether there is room for another upload of this size.
    async fn admit(&self, claim: &Claim) -> Result<OwnedSemaphorePermit> {
        let size = claim.size.unwrap_or(0);
        if size > self.limits.image_bytes_max {
            return Err(too_large(self.limits.image_bytes_max));
        }
        if let Some(free) = self.store.free().await {
            let room = free.saturating_sub(self.limits.free_bytes_min);
            if size.max(1) > room {
                return Err(no_room(size, room));
            }
        }
        self.upload_slot()
    }

    /// The right to read and hash a file, of which there are only so many.
    pub(super) fn upload_slot(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.uploads)
            .try_acquire_owned()
            .map_err(|_| Error::new(Kind::Busy, "Too many uploads at the same time; try again in a moment."))
    }

    fn prepare(&self, image: &mut Image, fallback: Fallback) -> Result<()> {
        match image.store {
            None | Some(StoreName::File) => {}
            Some(StoreName::Http) => return Err(Error::invalid("Cannot post an image file to a HTTP backend")),
            Some(other) => {
                return Err(Error::new(Kind::Unsupported, format!("The store '{}' is not supported", other.name())));
            }
        }
        image.status = Status::Saving;
        image.ticket = Some(Ticket { boot: self.boot, fallback });
        Ok(())
    }

    async fn start(
        &self,
        who: &Caller,
        saving: Saving,
        key: BlobKey,
        claim: Claim,
        slot: OwnedSemaphorePermit,
    ) -> Result<Upload> {
        let writer = self.store.begin(&key, claim.size).await?;
        Ok(Upload {
            writer: Some(writer),
            lanes: Some(Lanes::start()?),
            buffer: self.buffers.take(),
            saving,
            key,
            claim,
            received: 0,
            unchecked: 0,
            who: who.clone(),
            _slot: slot,
        })
    }
}

impl Upload {
    /// Adds to what the sender says of its bytes: a form may say it behind them.
    pub fn claim(&mut self, more: Claim) {
        let Claim { size, digests } = std::mem::take(&mut self.claim);
        self.claim = Claim { size: more.size.or(size), digests: more.digests.or(digests) };
    }

    /// Takes a chunk. After an error the upload is over, and the image is as if it had not been tried.
    ///
    /// # Errors
    /// `TooLarge`, `DigestMismatch` when there is more than was announced, `StoreFull`, `Internal`.
    pub async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let outcome = self.take(chunk).await;
        if outcome.is_err() {
            self.give_up().await;
        }
        outcome
    }

    async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        self.received += chunk.len() as u64;
        let max = self.saving.registry().limits.image_bytes_max;
        if self.received > max {
            return Err(too_large(max));
        }
        if let Some(claimed) = self.claim.size
            && self.received > claimed
        {
            let text = format!("The file is longer than the {claimed} bytes that were announced.");
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        while !chunk.is_empty() {
            self.buffer.fill(&mut chunk);
            if self.buffer.room() == 0 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands the gathered bytes on. The digest lanes first: they are the slowest.
    async fn flush(&mut self) -> Result<()> {
        let next = self.saving.registry().buffers.take();
        let bytes = std::mem::replace(&mut self.buffer, next).freeze();
        let (Some(lanes), Some(writer)) = (&self.lanes, &mut self.writer) else {
            return Err(Error::internal("the upload is over"));
        };
        self.unchecked += bytes.len() as u64;
        lanes.update(&bytes).await?;
        writer.write(bytes).await?;
        if self.unchecked >= SPACE_CHECK_BYTES {
            self.unchecked = 0;
            let registry = self.saving.registry();
            if let Some(free) = registry.store.free().await
                && free < registry.limits.free_bytes_min
            {
                let text = format!("The file does not fit: {free} bytes are left, and so much has to stay free.");
                return Err(Error::new(Kind::StoreFull, text));
            }
        }
        Ok(())
    }

    /// Ends the upload: verifies the claim, makes the bytes durable, puts `patch` on the image and makes it available.
    ///
    /// # Errors
    /// `DigestMismatch`, `StoreFull`, `Invalid` patch, `NotFound` when the image was removed meanwhile. The image is
    /// then as if the upload had not been tried. After `Internal` the next start decides what it is.
    pub async fn finish(mut self, patch: &ImagePatch) -> Result<Image> {
        match self.verified(patch).await {
            Ok((part, writer)) => publish(self.saving.disarm(), self.key.clone(), part, patch.clone(), writer).await,
            Err(error) => {
                self.give_up().await;
                Err(error)
            }
        }
    }

    /// What the image gets, and the writer with all its bytes.
    async fn verified(&mut self, patch: &ImagePatch) -> Result<(Part, Box<dyn BlobWriter>)> {
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        let lanes = self.lanes.take().ok_or_else(|| Error::internal("the upload is over"))?;
        let digests = lanes.finish().await?;
        self.claim.check(Some(self.received), &digests)?;

        let registry = self.saving.registry();
        // Whether the patch may be put on the image; it is put on whatever the row is in the end.
        let mut image = registry.catalog.get(self.saving.id()).await?;
        registry.change(&self.who, &mut image, patch).await?;
        let part = Part {
            kind: PartKind::Whole,
            location: Location::Stored { store: registry.store_name(), key: self.key.clone() },
            size: Some(self.received),
            digests,
            etag: None,
        };
        let writer = self.writer.take().ok_or_else(|| Error::internal("the upload is over"))?;
        Ok((part, writer))
    }

    /// Ends an upload that can't go on: the staged bytes are gone and the image is back when this returns.
    pub async fn abandon(mut self) {
        self.give_up().await;
    }

    async fn give_up(&mut self) {
        self.lanes = None;
        if let Some(writer) = self.writer.take() {
            writer.abort().await;
        }
        self.saving.put_back().await;
    }
}

fn no_room(size: u64, room: u64) -> Error {
    let needs = if size > 0 { format!("The file needs {size} bytes and there") } else { "There".to_owned() };
    let text = format!("{needs} is room for {room}: {} too few.", size.max(1).saturating_sub(room));
    Error::new(Kind::StoreFull, text)
}

fn too_large(max: u64) -> Error {
    Error::new(Kind::TooLarge, format!("An image has at most {max} bytes on this server."))
}
