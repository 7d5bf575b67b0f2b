//! The writer of the local store.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::{JoinHandle, spawn_blocking};

use super::landed;
use super::staged::Staged;
use crate::blob::{BlobBody, BlobFile, BlobWriter, StoreError};
use crate::image::BlobKey;

/// Writes of a blob that are on their way at once. A write around the page cache takes as long as the disk needs to answer,
/// so with one at a time an upload is as slow as that answer is late. Each holds a buffer of 1 MiB.
const IN_FLIGHT_MAX: usize = 4;

/// Writes one blob, with a few writes in flight: the network fills the next chunk meanwhile.
pub(super) struct LocalWriter {
    key: BlobKey,
    /// There until the writer is finished or given up.
    staged: Option<Staged>,
    /// In the order of the bytes.
    flights: VecDeque<JoinHandle<Result<(), StoreError>>>,
    size: u64,
    /// False after an error, and while a call has not come to its end: bytes may be missing.
    sound: bool,
}

impl LocalWriter {
    /// A writer that continues after the first `size` bytes.
    pub(super) fn new(key: BlobKey, staged: Staged, size: u64) -> Self {
        Self { key, staged: Some(staged), flights: VecDeque::new(), size, sound: true }
    }

    /// Waits for all writes in flight. The writer is unsound until the caller says that it has come to its end.
    async fn settle(&mut self) -> Result<(), StoreError> {
        self.land(0).await
    }

    /// Waits until at most `left` writes are in flight, and takes those that have ended. The writer is unsound until the caller
    /// says that it has come to its end.
    async fn land(&mut self, left: usize) -> Result<(), StoreError> {
        if !std::mem::replace(&mut self.sound, false) {
            return Err(StoreError::broken("an earlier write of this blob did not succeed"));
        }
        loop {
            let is_crowded = self.flights.len() > left;
            let first = self.flights.front_mut().filter(|flight| is_crowded || flight.is_finished());
            let Some(flight) = first else { return Ok(()) };
            // Not taken before it has landed: a future that is dropped here must not lose it.
            let outcome = landed(flight).await;
            self.flights.pop_front();
            outcome?;
        }
    }

    fn staged(&mut self) -> Result<Staged, StoreError> {
        self.staged.take().ok_or_else(|| StoreError::broken("this blob is finished"))
    }
}

#[async_trait]
impl BlobWriter for LocalWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.land(IN_FLIGHT_MAX - 1).await?;
        if let Some(staged) = &self.staged
            && !chunk.is_empty()
        {
            let (sink, offset) = (Arc::clone(&staged.sink), self.size);
            self.size += chunk.len() as u64;
            self.flights.push_back(spawn_blocking(move || Ok(sink.write_at(&chunk, offset)?)));
        }
        self.sound = true;
        Ok(())
    }

    async fn keep(&mut self) -> Result<u64, StoreError> {
        self.settle().await?;
        let (mut staged, key, size) = (self.staged()?, self.key.clone(), self.size);
        let kept = spawn_blocking(move || staged.keep(&key, size).map(|()| staged));
        self.staged = Some(landed(kept).await?);
        self.sound = true;
        Ok(self.size)
    }

    async fn reread(&mut self) -> Result<BlobBody, StoreError> {
        self.settle().await?;
        let staged = self.staged()?;
        let (staged, file) = landed(spawn_blocking(move || staged.reread().map(|file| (staged, file)))).await?;
        self.staged = Some(staged);
        self.sound = true;
        Ok(BlobBody::File(BlobFile { file: Arc::new(file), offset: 0, length: self.size, held: None }))
    }

    async fn link(&mut self, twin: &BlobKey) -> Result<bool, StoreError> {
        self.settle().await?;
        let (staged, twin, key, size) = (self.staged()?, twin.clone(), self.key.clone(), self.size);
        let (staged, linked) = landed(spawn_blocking(move || {
            let linked = staged.link(&twin, size, &key)?;
            Ok((staged, linked))
        }))
        .await?;
        self.staged = Some(staged);
        self.sound = true;
        Ok(linked)
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.settle().await?;
        // One task for all the steps: a caller that is dropped can't stop it between two of them.
        let (staged, key, size) = (self.staged()?, self.key.clone(), self.size);
        landed(spawn_blocking(move || staged.publish(&key, size))).await?;
        Ok(self.size)
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(staged) = &mut self.staged {
            staged.discard();
        }
        self.leave().await;
    }

    async fn leave(mut self: Box<Self>) {
        for flight in std::mem::take(&mut self.flights) {
            // Even one that failed must not write to the disk any more when this returns.
            let _ = flight.await;
        }
        if let Some(staged) = self.staged.take() {
            let _ = spawn_blocking(move || drop(staged)).await;
        }
    }
}

impl Drop for LocalWriter {
    fn drop(&mut self) {
        let Some(staged) = self.staged.take() else { return };
        // Freeing the blocks of a large file takes its time, so not on the thread of a server.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(staged));
        }
    }
}
