//! The writer of a remote store. What it is told first decides: bytes are streamed to the other side, and can't be had back before
//! they are a blob; what is to be kept is gathered in the local store, and streamed when it is finished.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::RemoteStore;
use super::upload::{Upload, piece_bytes};
use crate::blob::{BlobBody, BlobStore, BlobWriter, Buffers, StoreError, stream};
use crate::image::BlobKey;

/// The error for an operation that only the local store has.
const STREAMED: &str =
    "bytes that are on their way to another server can't be kept: that has to be said before the first";

/// Writes one blob.
pub(super) struct RemoteWriter {
    store: RemoteStore,
    key: BlobKey,
    size_hint: Option<u64>,
    to: To,
    /// False after an error, and while a call has not come to its end: bytes may be missing.
    sound: bool,
}

enum To {
    /// No destination yet.
    Nowhere,
    Spool(Box<dyn BlobWriter>),
    Remote(Streaming),
}

impl RemoteWriter {
    /// A writer that has not been told anything.
    pub(super) fn begin(store: RemoteStore, key: BlobKey, size_hint: Option<u64>) -> Self {
        Self { store, key, size_hint, to: To::Nowhere, sound: true }
    }

    /// A writer that continues after the kept bytes.
    pub(super) fn spooled(store: RemoteStore, key: BlobKey, spooled: Box<dyn BlobWriter>) -> Self {
        Self { store, key, size_hint: None, to: To::Spool(spooled), sound: true }
    }

    /// The writer is unsound until the caller says that it has come to its end.
    fn check(&mut self) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.sound, false) {
            Ok(())
        } else {
            Err(StoreError::broken("an earlier write of this blob did not succeed"))
        }
    }

    /// The writer of what was kept.
    fn spool(&mut self) -> Result<&mut dyn BlobWriter, StoreError> {
        match &mut self.to {
            To::Spool(spooled) => Ok(&mut **spooled),
            To::Nowhere | To::Remote(_) => Err(StoreError::broken(STREAMED)),
        }
    }
}

#[async_trait]
impl BlobWriter for RemoteWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.check()?;
        if matches!(self.to, To::Nowhere) && !chunk.is_empty() {
            self.to = To::Remote(Streaming::begin(&self.store, &self.key, self.size_hint).await?);
        }
        match &mut self.to {
            To::Nowhere => {}
            To::Spool(spooled) => spooled.write(chunk).await?,
            To::Remote(streaming) => streaming.write(&chunk).await?,
        }
        self.sound = true;
        Ok(())
    }

    async fn keep(&mut self) -> Result<u64, StoreError> {
        self.check()?;
        if matches!(self.to, To::Nowhere) {
            self.to = To::Spool(self.store.0.spool.begin(&self.key, self.size_hint).await?);
        }
        let kept = self.spool()?.keep().await?;
        self.sound = true;
        Ok(kept)
    }

    async fn reread(&mut self) -> Result<BlobBody, StoreError> {
        self.check()?;
        let body = self.spool()?.reread().await?;
        self.sound = true;
        Ok(body)
    }

    async fn link(&mut self, _: &BlobKey) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.check()?;
        let Self { store, key, size_hint, to, .. } = *self;
        match to {
            To::Nowhere => Streaming::begin(&store, &key, size_hint).await?.finish().await,
            To::Remote(streaming) => streaming.finish().await,
            To::Spool(mut spooled) => {
                let body = spooled.reread().await?;
                let mut streaming = Streaming::begin(&store, &key, body.length()).await?;
                let mut pieces = stream(body, &Buffers::for_uploads());
                while let Some(piece) = pieces.next().await {
                    match piece {
                        Ok(piece) => streaming.write(&piece).await?,
                        Err(error) => {
                            streaming.upload.abort().await;
                            return Err(error);
                        }
                    }
                }
                let finished = streaming.finish().await;
                // After any other error it can be tried again with what was kept.
                if matches!(finished, Ok(_) | Err(StoreError::Exists)) {
                    spooled.abort().await;
                }
                finished
            }
        }
    }

    async fn abort(self: Box<Self>) {
        match self.to {
            To::Nowhere => {}
            To::Spool(spooled) => spooled.abort().await,
            To::Remote(streaming) => streaming.upload.abort().await,
        }
    }

    async fn leave(self: Box<Self>) {
        match self.to {
            To::Nowhere => {}
            To::Spool(spooled) => spooled.leave().await,
            To::Remote(streaming) => streaming.upload.abort().await,
        }
    }
}

/// Bytes on their way to the other side, gathered into pieces. Copied, so that what is held is a piece, whatever the chunks are
/// slices of.
struct Streaming {
    upload: Upload,
    size_hint: Option<u64>,
    waiting: BytesMut,
    piece_bytes: usize,
    pieces: u64,
    sent: u64,
}

impl Streaming {
    async fn begin(store: &RemoteStore, key: &BlobKey, size_hint: Option<u64>) -> Result<Self, StoreError> {
        let (upload, piece_bytes) = (Upload::begin(store, key).await?, piece_bytes(size_hint, 0, 0));
        Ok(Self { upload, size_hint, waiting: BytesMut::new(), piece_bytes, pieces: 0, sent: 0 })
    }

    async fn write(&mut self, mut chunk: &[u8]) -> Result<(), StoreError> {
        while !chunk.is_empty() {
            // A full piece waits for more, so that the last one is never empty, and the only one is sent at once.
            if self.waiting.len() == self.piece_bytes {
                let piece = std::mem::take(&mut self.waiting).freeze();
                self.pieces += 1;
                self.sent += piece.len() as u64;
                self.upload.put(piece).await?;
                self.piece_bytes = piece_bytes(self.size_hint, self.pieces, self.sent);
            }
            let (now, later) = chunk.split_at(chunk.len().min(self.piece_bytes - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            chunk = later;
        }
        Ok(())
    }

    async fn finish(self) -> Result<u64, StoreError> {
        let Self { upload, waiting, sent, .. } = self;
        let size = sent + waiting.len() as u64;
        upload.finish(waiting.freeze(), size).await?;
        Ok(size)
    }
}
