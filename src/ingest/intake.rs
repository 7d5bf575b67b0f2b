//! Bytes on their way in: counted, hashed and written beside each other.
//!
//! Chunks are pushed, because an HTTP body can't be handed to another thread. They are gathered into buffers of 1 MiB,
//! and each goes to the digest lanes and to the store's writer. Knows nothing of images but the format they have to have.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sha2::Digest;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::expected::Expected;
use super::hash_pool::{HashPool, HashState, HashStream};
use super::pump::ByteSink;
use super::rate::{RateGuard, RateLimits};
use super::room::Room;
use crate::blob::{BlobBody, BlobWriter, Buffer, Buffers};
use crate::error::{Error, Kind, Result};
use crate::image::{Digests, Format, StoreName};
use crate::inspect::{Rules, check};

/// After so many bytes the store is asked again how much is free: senders may not say how much comes, and several
/// that say it may together be too many.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// Bounds on the bytes that come in.
#[derive(Debug, Clone)]
pub(crate) struct IngestLimits {
    /// Largest file, in bytes.
    pub(crate) bytes_max: u64,
    /// Files received or read at the same time; each holds a few buffers of 1 MiB.
    pub(crate) transfers_max: usize,
    /// Whether files get a sha512 besides the digests that all get.
    pub(crate) sha512: bool,
    /// Checks of the bytes that are left out.
    pub(crate) inspect: Rules,
    /// Bounds on how slowly bytes may come that the service itself fetches.
    pub(crate) rate: RateLimits,
}

/// All that bytes need on their way in: buffers, threads that hash, space, and the bounds on them.
pub(crate) struct Ingest {
    pub(crate) buffers: Buffers,
    pub(crate) hash_pool: HashPool,
    pub(crate) limits: IngestLimits,
    room: Room,
    slots: Arc<Semaphore>,
}

impl Ingest {
    pub(crate) fn new(limits: IngestLimits, room: Room) -> Arc<Self> {
        Arc::new(Self {
            buffers: Buffers::for_uploads(),
            hash_pool: HashPool::new(limits.sha512),
            slots: Arc::new(Semaphore::new(limits.transfers_max)),
            room,
            limits,
        })
    }

    /// The right to receive or read a file, of which there are only so many.
    ///
    /// # Errors
    /// `Busy`.
    pub(crate) fn slot(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| Error::new(Kind::Busy, "Too many uploads at the same time; try again in a moment."))
    }

    /// Makes sure that a file of this size may come and that there is room for it.
    ///
    /// # Errors
    /// `TooLarge`, `StoreFull`.
    pub(crate) async fn admit(&self, store: &StoreName, expected: &Expected) -> Result<()> {
        let size = expected.size.unwrap_or(0);
        if size > self.limits.bytes_max {
            return Err(too_large(self.limits.bytes_max));
        }
        self.room.reserve(store, size).await
    }

    /// A meter for bytes that the service itself fetches.
    pub(crate) fn rate_guard(&self) -> RateGuard {
        RateGuard::new(self.limits.rate, Instant::now())
    }

    /// Digests of the bytes of a body, and how many there were.
    pub(crate) async fn digest(&self, body: BlobBody) -> Result<(u64, HashState)> {
        self.hash_pool.digest(body, &self.buffers).await
    }
}

/// All bytes of a file, verified and not yet durable.
pub(crate) struct Received {
    pub(crate) size: u64,
    /// Size of the disk in them.
    pub(crate) virtual_size: Option<u64>,
    pub(crate) digests: Digests,
    /// SHA-256 of what described them and of them, if something came before them.
    pub(crate) joint: Option<[u8; 32]>,
    /// The place they are at.
    pub(crate) writer: Box<dyn BlobWriter>,
    /// Given back when they are durable.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// A store's writer, and what happens to its bytes beside the writing.
pub(crate) struct Intake {
    ingest: Arc<Ingest>,
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
    pub(crate) fn start(
        ingest: &Arc<Ingest>,
        store: StoreName,
        writer: Box<dyn BlobWriter>,
        received: u64,
        digesting: HashState,
        claim: Expected,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self> {
        let (lanes, buffer) = (ingest.hash_pool.resume(digesting)?, ingest.buffers.take());
        let ingest = Arc::clone(ingest);
        // Who goes on was admitted long ago.
        let unchecked = if received > 0 { SPACE_CHECK_BYTES } else { 0 };
        Ok(Self { ingest, store, writer, lanes, buffer, claim, received, unchecked, slot })
    }

    /// How many bytes there are.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Adds to what the sender says of its bytes: a form may say it behind them.
    pub(crate) fn claim(&mut self, more: Expected) {
        let Expected { size, digests } = std::mem::take(&mut self.claim);
        self.claim = Expected { size: more.size.or(size), digests: more.digests.or(digests) };
    }

    /// Takes a chunk. After an error only [`Intake::keep`] knows whether it is still good for anything.
    pub(crate) async fn take(&mut self, mut chunk: Bytes) -> Result<()> {
        let received = self.received + chunk.len() as u64;
        let max = self.ingest.limits.bytes_max;
        if received > max {
            return Err(too_large(max));
        }
        if let Some(claimed) = self.claim.size
            && received > claimed
        {
            let text = format!("The file is longer than the {claimed} bytes that were announced.");
            return Err(Error::new(Kind::DigestMismatch, text));
        }
        while !chunk.is_empty() {
            // Each buffer ends at a multiple of its size: the disk takes those as they are.
            let size = self.ingest.buffers.size();
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
        let next = self.ingest.buffers.take();
        let bytes = std::mem::replace(&mut self.buffer, next).freeze();
        self.unchecked += bytes.len() as u64;
        self.lanes.update(&bytes).await?;
        self.writer.write(bytes).await?;
        if self.unchecked >= SPACE_CHECK_BYTES {
            self.unchecked = 0;
            self.ingest.room.check(&self.store).await?;
        }
        Ok(())
    }

    /// Makes all bytes so far durable, so that another one can go on behind them.
    pub(crate) async fn keep(&mut self) -> Result<u64> {
        self.flush().await?;
        let kept = self.writer.keep().await?;
        if kept != self.received {
            // A call of `take` was dropped half way.
            return Err(Error::internal("bytes of an upload went missing on their way to the store"));
        }
        Ok(kept)
    }

    /// The same, and ends: where the digests stand is for the next one.
    pub(crate) async fn pause(mut self) -> Result<(u64, HashState)> {
        if let Err(error) = self.keep().await {
            self.leave().await;
            return Err(error);
        }
        Ok((self.received, self.lanes.pause().await?))
    }

    /// Ends without the bytes that were not kept.
    pub(crate) async fn leave(self) {
        self.writer.leave().await;
    }

    /// Ends: what all bytes hash to, verified, and the writer that has them. They are to be an image of this format.
    ///
    /// # Errors
    /// `DigestMismatch`; `BadContent` when they are of another format, or dangerous; what the writer says. The bytes are
    /// gone then.
    pub(crate) async fn finish(self, format: Option<Format>) -> Result<Received> {
        self.settle(Some(format)).await
    }

    /// The same for a copy of bytes that an image has: what they may be was decided when they came.
    pub(crate) async fn finish_copy(self) -> Result<Received> {
        self.settle(None).await
    }

    async fn settle(mut self, format: Option<Option<Format>>) -> Result<Received> {
        if let Err(error) = self.flush().await {
            self.abort().await;
            return Err(error);
        }
        let Self { ingest, writer, lanes, claim, received, slot, .. } = self;
        let verified = async {
            let digesting = lanes.pause().await?;
            let joint = digesting.joint().pop().map(|state| state.finalize().into());
            let (digests, inspection) = digesting.finish();
            claim.check(Some(received), &digests)?;
            if let Some(format) = format {
                check(&inspection, format, &ingest.limits.inspect)?;
            }
            Ok((digests, joint, inspection.virtual_size(format.flatten())))
        };
        match verified.await {
            Ok((digests, joint, virtual_size)) => {
                Ok(Received { size: received, virtual_size, digests, joint, writer, slot })
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// Gives up: the bytes are gone when this returns.
    pub(crate) async fn abort(self) {
        drop(self.lanes);
        self.writer.abort().await;
    }
}

/// A file on its way as the end of a transfer; there until that ends.
impl ByteSink for Option<Intake> {
    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.as_mut().ok_or_else(over)?.take(chunk).await
    }

    async fn abandon(&mut self) -> Result<()> {
        if let Some(intake) = self.take() {
            intake.abort().await;
        }
        Ok(())
    }
}

/// The answer to a request that goes on with an upload that has ended.
pub(crate) fn over() -> Error {
    Error::internal("the upload is over")
}

/// The answer to more bytes than an image may have.
fn too_large(max: u64) -> Error {
    Error::new(Kind::TooLarge, format!("An image has at most {max} bytes on this server."))
}
