//! Bytes on their way in: counted, hashed and written beside each other.
//!
//! Chunks are pushed, because an HTTP body can't be handed to another thread. They are gathered into buffers of 1 MiB,
//! and each goes to the digest lanes and to the store's writer. Knows nothing of images but the format they have to have.

use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::OwnedSemaphorePermit;

use super::{Expected, Registry};
use crate::blob::{BlobWriter, Buffer};
use crate::error::{Error, Reason, Result};
use crate::image::{Format, StoreName};
use crate::ingest::hash_pool::{HashState, HashStream};
use crate::inspect::check;
use crate::registry::uploads::publish::Received;

/// After so many bytes the store is asked again how much is free: senders may not say how much comes, and several
/// that say it may together be too many.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// A store's writer, and what happens to its bytes beside the writing.
pub(super) struct Intake {
    registry: Arc<Registry>,
    /// Which store the writer is of.
    store: StoreName,
    writer: Box<dyn BlobWriter>,
    lanes: HashStream,
    buffer: Buffer,
    claim: Expected,
    received: u64,
    /// Bytes since the store was last asked how much is free.
    unchecked: u64,
    slot: OwnedSemaphorePermit,
}

impl Intake {
    /// Begins behind the first `received` bytes, which `digesting` has taken in.
    pub(super) fn start(
        registry: &Arc<Registry>,
        store: StoreName,
        writer: Box<dyn BlobWriter>,
        received: u64,
        digesting: HashState,
        claim: Expected,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self> {
        let (lanes, buffer) = (registry.hub.resume(digesting)?, registry.buffers.take());
        let registry = Arc::clone(registry);
        // Who goes on was admitted long ago.
        let unchecked = if received > 0 { SPACE_CHECK_BYTES } else { 0 };
        Ok(Self { registry, store, writer, lanes, buffer, claim, received, unchecked, slot })
    }

    /// How many bytes there are.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Adds to what the sender says of its bytes: a form may say it behind them.
    pub(super) fn claim(&mut self, more: Expected) {
        let Expected { size, digests } = std::mem::take(&mut self.claim);
        self.claim = Expected { size: more.size.or(size), digests: more.digests.or(digests) };
    }

    /// Takes a chunk. After an error only [`Intake::keep`] knows whether it is still good for anything.
    pub(super) async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        let received = self.received + chunk.len() as u64;
        let max = self.registry.limits.image_bytes_max;
        if received > max {
            return Err(too_large(max));
        }
        if let Some(claimed) = self.claim.size
            && received > claimed
        {
            let text = format!("The file is longer than the {claimed} bytes that were announced.");
            return Err(Reason::Mismatch.saying(text));
        }
        while !chunk.is_empty() {
            // Each buffer ends at a multiple of its size: the disk takes those as they are.
            let size = self.registry.buffers.size();
            let into = (self.received % size as u64) as usize;
            let mut piece = chunk.split_to(chunk.len().min(size - into));
            self.received += piece.len() as u64;
            let full = into + piece.len() == size;
            self.buffer.fill(&mut piece);
            if full {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Hands the gathered bytes on. The digest lanes first: they are the slowest.
    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let next = self.registry.buffers.take();
        let bytes = std::mem::replace(&mut self.buffer, next).freeze();
        self.unchecked += bytes.len() as u64;
        self.lanes.update(&bytes).await?;
        self.writer.write(bytes).await?;
        if self.unchecked >= SPACE_CHECK_BYTES {
            self.unchecked = 0;
            if !self.registry.room_for(&self.store, 0).await.0 {
                self.registry.make_room(&self.store, 0).await?;
            }
            if let Some(free) = self.registry.stores.free(&self.store).await
                && free < self.registry.limits.free_bytes_min
            {
                let text = format!("The file does not fit: {free} bytes are left, and so much has to stay free.");
                return Err(Reason::StoreFull.saying(text));
            }
        }
        Ok(())
    }

    /// Makes all bytes so far durable, so that another one can go on behind them.
    pub(super) async fn keep(&mut self) -> Result<u64> {
        self.flush().await?;
        let kept = self.writer.keep().await?;
        if kept != self.received {
            // A call of `take` was dropped half way.
            return Err(Error::internal("bytes of an upload went missing on their way to the store"));
        }
        Ok(kept)
    }

    /// The same, and ends: where the digests stand is for the next one.
    pub(super) async fn pause(mut self) -> Result<(u64, HashState)> {
        if let Err(error) = self.keep().await {
            self.leave().await;
            return Err(error);
        }
        Ok((self.received, self.lanes.pause().await?))
    }

    /// Ends without the bytes that were not kept.
    pub(super) async fn leave(self) {
        self.writer.leave().await;
    }

    /// Ends: what all bytes hash to, verified, and the writer that has them. They are to be an image of this format.
    ///
    /// # Errors
    /// `DigestMismatch`; `BadContent` when they are of another format, or dangerous; what the writer says. The bytes are
    /// gone then.
    pub(super) async fn finish(self, format: Option<Format>) -> Result<Received> {
        self.settle(Some(format)).await
    }

    /// The same for a copy of bytes that an image has: what they may be was decided when they came.
    pub(super) async fn finish_copy(self) -> Result<Received> {
        self.settle(None).await
    }

    async fn settle(mut self, format: Option<Option<Format>>) -> Result<Received> {
        if let Err(error) = self.flush().await {
            self.abort().await;
            return Err(error);
        }
        let Self { registry, writer, lanes, claim, received, slot, .. } = self;
        let verified = async {
            let digesting = lanes.pause().await?;
            let joint = digesting.joint().pop().map(|state| state.finalize().into());
            let (digests, inspection) = digesting.finish();
            claim.check(Some(received), &digests)?;
            if let Some(format) = format {
                check(&inspection, format, &registry.limits.inspect)?;
            }
            Ok((digests, joint, inspection.virtual_size(format.flatten())))
        };
        match verified.await {
            Ok((digests, joint, virtual_size)) => {
                Ok(Received { size: received, virtual_size, digests, joint, writer, slot, lxd_identity: None })
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// Gives up: the bytes are gone when this returns.
    pub(super) async fn abort(self) {
        drop(self.lanes);
        self.writer.abort().await;
    }
}

/// The answer to whoever goes on with an upload that has ended.
pub(super) fn over() -> Error {
    Error::internal("the upload is over")
}

/// The answer to more bytes than an image may have.
pub(super) fn too_large(max: u64) -> Error {
    Reason::FileTooLarge.about(max)
}
