//! Blobs in memory: the contract at its plainest, and a store that fails on demand, for tests.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream;

use super::{BlobBody, BlobStat, BlobStore, BlobWriter, StoreError, span};
use crate::image::BlobKey;

/// Bytes of a piece that is read: small, so that tests see bodies of several pieces.
const PIECE_BYTES: usize = 64 * 1024;

/// A store without a disk. Clones share their content.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    blobs: HashMap<BlobKey, (Bytes, BlobStat)>,
    /// Bytes that unfinished writers have kept.
    kept: HashMap<BlobKey, BytesMut>,
    /// Bytes that may still be written, if there is a limit.
    room: Option<u64>,
    /// Refuse to finish a blob where one exists.
    guarded: bool,
    /// Readers that will break off, and the bytes that each gets before.
    breaking: (usize, usize),
    /// Number of finished blobs. It replaces a clock: each is a second younger than the one before.
    finished: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on there is room for `bytes` more: what goes beyond is [`StoreError::Full`], until something is
    /// deleted or given up.
    pub fn fail_after(&self, bytes: u64) {
        self.content().room = Some(bytes);
    }

    /// From now on nothing is put where a blob is: that is [`StoreError::Exists`], as with stores that can't replace one.
    pub fn refuse_what_is_there(&self) {
        self.content().guarded = true;
    }

    /// The next `readers` that have more to read break off after `bytes`, as those of a store on another machine do.
    pub fn break_readers(&self, readers: usize, bytes: usize) {
        self.content().breaking = (readers, bytes);
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No method leaves the content half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn give_back(&mut self, bytes: usize) {
        self.room = self.room.map(|room| room.saturating_add(bytes as u64));
    }

    fn put(&mut self, key: BlobKey, bytes: Bytes) {
        self.finished += 1;
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(self.finished);
        let stat = BlobStat { size: bytes.len() as u64, modified };
        if let Some((old, _)) = self.blobs.insert(key, (bytes, stat)) {
            self.give_back(old.len());
        }
    }
}

#[async_trait]
impl BlobStore for MemoryStore {
    async fn begin(&self, key: &BlobKey, size_hint: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        match (size_hint, self.content().room) {
            (Some(hint), Some(room)) if hint > room => Err(StoreError::Full),
            _ => Ok(Box::new(MemoryWriter {
                store: self.clone(),
                key: key.clone(),
                bytes: BytesMut::new(),
                kept: 0,
                sound: true,
            })),
        }
    }

    async fn resume(&self, key: &BlobKey, length: u64, _: Option<u64>) -> Result<Box<dyn BlobWriter>, StoreError> {
        let mut content = self.content();
        let mut bytes = content.kept.get(key).cloned().ok_or(StoreError::NotFound)?;
        if (bytes.len() as u64) < length {
            return Err(StoreError::NotFound);
        }
        content.give_back(bytes.len() - length as usize);
        bytes.truncate(length as usize);
        content.kept.insert(key.clone(), bytes.clone());
        drop(content);
        Ok(Box::new(MemoryWriter { store: self.clone(), key: key.clone(), kept: bytes.len(), bytes, sound: true }))
    }

    async fn open(&self, key: &BlobKey, range: Option<Range<u64>>) -> Result<BlobBody, StoreError> {
        let bytes = self.content().blobs.get(key).ok_or(StoreError::NotFound)?.0.clone();
        let (offset, length) = span(range, bytes.len() as u64)?;
        let mut rest = bytes.slice(offset as usize..(offset + length) as usize);
        let mut broken = None;
        {
            let (readers, bytes) = &mut self.content().breaking;
            if *readers > 0 && rest.len() > *bytes {
                *readers -= 1;
                rest.truncate(*bytes);
                broken = Some(Err(StoreError::Unavailable("The store breaks off.".into())));
            }
        }
        let pieces = std::iter::from_fn(move || {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            if piece.is_empty() { broken.take() } else { Some(Ok(piece)) }
        });
        Ok(BlobBody::Stream { stream: stream::iter(pieces).boxed(), length: Some(length) })
    }

    async fn stat(&self, key: &BlobKey) -> Result<BlobStat, StoreError> {
        self.content().blobs.get(key).map(|(_, stat)| *stat).ok_or(StoreError::NotFound)
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), StoreError> {
        let mut content = self.content();
        if let Some((bytes, _)) = content.blobs.remove(key) {
            content.give_back(bytes.len());
        }
        if let Some(bytes) = content.kept.remove(key) {
            content.give_back(bytes.len());
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<BlobKey>, StoreError> {
        Ok(self.content().blobs.keys().cloned().collect())
    }

    async fn sweep(&self, kept: Option<&[BlobKey]>) -> Result<usize, StoreError> {
        let mut content = self.content();
        let before = content.kept.len();
        content.kept.retain(|key, _| kept.is_none_or(|kept| kept.contains(key)));
        Ok(before - content.kept.len())
    }

    fn uri(&self, key: &BlobKey) -> String {
        format!("memory:{key}")
    }

    async fn free(&self) -> Option<u64> {
        self.content().room
    }
}

struct MemoryWriter {
    store: MemoryStore,
    key: BlobKey,
    bytes: BytesMut,
    /// Bytes that stay when the writer is dropped.
    kept: usize,
    sound: bool,
}

impl MemoryWriter {
    fn check(&self) -> Result<(), StoreError> {
        if self.sound { Ok(()) } else { Err(StoreError::broken("an earlier write of this blob did not succeed")) }
    }
}

#[async_trait]
impl BlobWriter for MemoryWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), StoreError> {
        self.check()?;
        if let Some(room) = &mut self.store.content().room {
            let Some(left) = room.checked_sub(chunk.len() as u64) else {
                self.sound = false;
                return Err(StoreError::Full);
            };
            *room = left;
        }
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn keep(&mut self) -> Result<u64, StoreError> {
        self.check()?;
        self.kept = self.bytes.len();
        self.store.content().kept.insert(self.key.clone(), self.bytes.clone());
        Ok(self.kept as u64)
    }

    async fn reread(&mut self) -> Result<BlobBody, StoreError> {
        self.check()?;
        let bytes = Ok(self.bytes.clone().freeze());
        let length = Some(self.bytes.len() as u64);
        Ok(BlobBody::Stream { stream: stream::iter([bytes]).boxed(), length })
    }

    async fn link(&mut self, twin: &BlobKey) -> Result<bool, StoreError> {
        self.check()?;
        let mut content = self.store.content();
        let there = content.blobs.get(twin).map(|(bytes, _)| bytes.clone()).filter(|bytes| bytes[..] == self.bytes[..]);
        Ok(there.map(|bytes| content.put(self.key.clone(), bytes)).is_some())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.check()?;
        let bytes = std::mem::take(&mut self.bytes).freeze();
        let size = bytes.len() as u64;
        self.kept = 0;
        let mut content = self.store.content();
        content.kept.remove(&self.key);
        if content.guarded && content.blobs.contains_key(&self.key) {
            content.give_back(bytes.len());
            return Err(StoreError::Exists);
        }
        content.put(self.key.clone(), bytes);
        Ok(size)
    }

    async fn abort(mut self: Box<Self>) {
        self.kept = 0;
        self.store.content().kept.remove(&self.key);
    }

    async fn leave(self: Box<Self>) {}
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        // What was kept or finished is the store's.
        self.store.content().give_back(self.bytes.len() - self.kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::suite;
    use crate::image::ImageId;

    #[tokio::test]
    async fn keeps_the_contract() {
        suite::run(&MemoryStore::new()).await;
    }

    #[tokio::test]
    async fn is_full_when_told_and_not_for_ever() {
        let store = MemoryStore::new();
        let (a, b) = (BlobKey::main(ImageId::random(), None), BlobKey::main(ImageId::random(), None));
        store.fail_after(10);
        assert!(matches!(store.begin(&a, Some(11)).await.err(), Some(StoreError::Full)));
        suite::put(&store, &a, &[1; 6]).await;
        assert_eq!(store.free().await, Some(4));

        let mut writer = store.begin(&b, None).await.unwrap();
        writer.write(Bytes::from_static(&[2; 4])).await.unwrap();
        assert!(matches!(writer.write(Bytes::from_static(&[2])).await, Err(StoreError::Full)));
        assert!(matches!(writer.write(Bytes::new()).await, Err(StoreError::Broken(_))));
        assert!(writer.finish().await.is_err());
        assert_eq!(store.free().await, Some(4));

        store.delete(&a).await.unwrap();
        suite::put(&store, &b, &[2; 10]).await;
        suite::put(&store, &b, &[]).await;
        assert_eq!(store.free().await, Some(10));
    }
}
