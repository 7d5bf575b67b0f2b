//! Receiving a file: its bytes are counted, hashed and written at the same time.
//!
//! Chunks are pushed, because an HTTP body can't move to another thread. They are gathered into buffers of 1 MiB,
//! which go to the hash pool and to the store's writer. Knows nothing of images, nor which bytes they may have.

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
use crate::error::{Error, Reason, Result};
use crate::image::{Digests, StoreName};
use crate::inspect::Inspection;

/// Bytes after which the free space is checked again: senders may not announce a size, and the sizes of several
/// uploads together may exceed the space.
const SPACE_CHECK_BYTES: u64 = 64 << 20;

/// Bounds on received bytes.
#[derive(Debug, Clone)]
pub(crate) struct IngestLimits {
    /// Largest file, in bytes.
    pub(crate) bytes_max: u64,
    /// Files received or read at the same time; each holds a few buffers of 1 MiB.
    pub(crate) transfers_max: usize,
    /// Adds a sha512 to the digests of every file.
    pub(crate) sha512: bool,
    /// Bounds on the speed of transfers that the service itself makes.
    pub(crate) rate: RateLimits,
}

/// Resources for received bytes: buffers, hash pool, space, and their bounds.
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

    /// Permit to receive or read a file; the number of permits is limited.
    ///
    /// # Errors
    /// `Busy`.
    pub(crate) fn slot(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| Reason::TooManyUploads.into())
    }

    /// Checks that a file of this size is allowed and fits into a store.
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

    /// A rate guard for bytes that the service itself fetches.
    pub(crate) fn rate_guard(&self) -> RateGuard {
        RateGuard::new(self.limits.rate, Instant::now())
    }

    /// Digests and counts the bytes of a body.
    pub(crate) async fn digest(&self, body: BlobBody) -> Result<(u64, HashState)> {
        self.hash_pool.digest(body, &self.buffers).await
    }
}

/// All bytes of a file, verified and not yet durable.
pub(crate) struct Received {
    pub(crate) size: u64,
    /// The result of the inspection, which no rule has seen yet.
    pub(crate) inspection: Inspection,
    pub(crate) digests: Digests,
    /// SHA-256 of the description and the bytes, if the bytes have a description.
    pub(crate) joint: Option<[u8; 32]>,
    /// Blob that has the bytes.
    pub(crate) writer: Box<dyn BlobWriter>,
    /// Permit, returned when the bytes are durable.
    pub(crate) slot: OwnedSemaphorePermit,
}

/// A store's writer, with the digests and checks beside the writing.
pub(crate) struct Intake {
    ingest: Arc<Ingest>,
    /// Store of the writer.
    store: StoreName,
    writer: Box<dyn BlobWriter>,
    lanes: HashStream,
    buffer: Buffer,
    claim: Expected,
    received: u64,
    /// Bytes since the last check of the free space.
    unchecked: u64,
    slot: OwnedSemaphorePermit,
}

impl Intake {
    /// Continues after the first `received` bytes, which `digesting` has hashed.
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
        // A continued upload was admitted at its beginning.
        let unchecked = if received > 0 { SPACE_CHECK_BYTES } else { 0 };
        Ok(Self { ingest, store, writer, lanes, buffer, claim, received, unchecked, slot })
    }

    /// Number of received bytes.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Adds to the expectation: a form may announce digests after the bytes.
    pub(crate) fn claim(&mut self, more: Expected) {
        let Expected { size, digests } = std::mem::take(&mut self.claim);
        self.claim = Expected { size: more.size.or(size), digests: more.digests.or(digests) };
    }

    /// Takes a chunk. After an error only [`Intake::keep`] knows whether the bytes are still usable.
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
            return Err(Reason::Mismatch.saying(text));
        }
        while !chunk.is_empty() {
            // Each buffer ends at a multiple of its size: the disk writes aligned blocks.
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

    /// Hands the gathered bytes on, to the hash pool first: hashing is the slowest step.
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

    /// Makes all bytes so far durable, so that another request can continue.
    pub(crate) async fn keep(&mut self) -> Result<u64> {
        self.flush().await?;
        let kept = self.writer.keep().await?;
        if kept != self.received {
            // A call of `take` was dropped half way.
            return Err(Error::internal("bytes of an upload went missing on their way to the store"));
        }
        Ok(kept)
    }

    /// Makes all bytes so far durable, and ends: returns the state of the digests for the next request.
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

    /// Ends: verifies the digests of all bytes, and returns them with the writer and what the inspection found.
    ///
    /// # Errors
    /// `DigestMismatch`; errors of the writer. The bytes are removed then.
    pub(crate) async fn finish(mut self) -> Result<Received> {
        if let Err(error) = self.flush().await {
            self.abort().await;
            return Err(error);
        }
        let Self { writer, lanes, claim, received, slot, .. } = self;
        let verified = async {
            let digesting = lanes.pause().await?;
            let joint = digesting.joint().pop().map(|state| state.finalize().into());
            let (digests, inspection) = digesting.finish();
            claim.check(Some(received), &digests)?;
            Ok((digests, joint, inspection))
        };
        match verified.await {
            Ok((digests, joint, inspection)) => {
                Ok(Received { size: received, inspection, digests, joint, writer, slot })
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// Abandons the file: the bytes are removed when this returns.
    pub(crate) async fn abort(self) {
        drop(self.lanes);
        self.writer.abort().await;
    }
}

/// A file that a transfer fills; absent once the transfer has ended.
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

/// The refusal of a request that continues an upload that has ended.
pub(crate) fn over() -> Error {
    Error::internal("the upload is over")
}

/// The refusal of more bytes than an image may have.
fn too_large(max: u64) -> Error {
    Reason::FileTooLarge.about(max)
}
