//! Upload locks: one writer at a time for each upload in pieces. The newest wins: a client reconnects before the server
//! has noticed that its old connection is dead. Knows no store and no record.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::timeout;

use crate::error::{Reason, Result};
use crate::image::ImageId;
use crate::ingest::hash_pool::HashState;

/// Longest wait for the holder, which has to make its bytes durable first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Digest state of an upload between two writers, and the number of bytes that it covers.
pub(in crate::registry) type Parked = Option<(u64, HashState)>;

/// The lock of one upload, and the requests that wait for it.
#[derive(Default)]
struct LockQueue {
    lock: Arc<tokio::sync::Mutex<Parked>>,
    waiting: AtomicUsize,
    knock: Notify,
}

/// Locks of all uploads.
#[derive(Default)]
pub(in crate::registry) struct UploadLocks(Mutex<HashMap<ImageId, Arc<LockQueue>>>);

/// The right to write to an upload.
pub(in crate::registry) struct UploadLock {
    queue: Arc<LockQueue>,
    pub(in crate::registry) parked: OwnedMutexGuard<Parked>,
}

impl UploadLocks {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<ImageId, Arc<LockQueue>>> {
        // No code panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock of an upload from its holder.
    ///
    /// # Errors
    /// `Busy` when the holder does not release it in time.
    pub(in crate::registry) async fn take(&self, id: ImageId) -> Result<UploadLock> {
        let queue = Arc::clone(self.all().entry(id).or_default());
        let _waiting = Waiting::at(&queue);
        queue.knock.notify_waiters();
        match timeout(PATIENCE, Arc::clone(&queue.lock).lock_owned()).await {
            Ok(parked) => Ok(UploadLock { queue: Arc::clone(&queue), parked }),
            Err(_) => Err(Reason::UploadBusy.into()),
        }
    }

    /// Takes the lock if it is free.
    pub(in crate::registry) fn take_free(&self, id: ImageId) -> Option<UploadLock> {
        let queue = Arc::clone(self.all().entry(id).or_default());
        let parked = Arc::clone(&queue.lock).try_lock_owned().ok()?;
        Some(UploadLock { queue, parked })
    }

    /// Drops the unused locks, except those of `live` uploads.
    pub(in crate::registry) fn clear(&self, live: &[ImageId]) {
        self.all().retain(|id, queue| live.contains(id) || Arc::strong_count(queue) > 1);
    }
}

/// A waiting request, counted until it is dropped.
struct Waiting<'a>(&'a LockQueue);

impl<'a> Waiting<'a> {
    fn at(queue: &'a LockQueue) -> Self {
        queue.waiting.fetch_add(1, Ordering::SeqCst);
        Self(queue)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl UploadLock {
    /// Waits until another request wants the lock.
    pub(in crate::registry) async fn wanted(&self) {
        loop {
            let knock = self.queue.knock.notified();
            // The count is read after the subscription: no notification is missed.
            if self.queue.waiting.load(Ordering::SeqCst) > 0 {
                return;
            }
            knock.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_gets_the_lock() {
        let (upload_locks, id) = (Arc::new(UploadLocks::default()), ImageId::random());
        let first = upload_locks.take(id).await.unwrap();
        assert!(upload_locks.take_free(id).is_none());
        let other = Arc::clone(&upload_locks);
        let taker = tokio::spawn(async move { other.take(id).await.unwrap().wanted().await });
        first.wanted().await;
        assert!(upload_locks.take_free(id).is_none());
        drop(first);
        // No request wants it from the second holder, until one does.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!taker.is_finished());
        let third = upload_locks.take(id).await.unwrap();
        taker.await.unwrap();
        drop(third);
        upload_locks.clear(&[]);
        assert!(upload_locks.all().is_empty());
    }
}
