//! One writer at a time for each resumable upload, and the newest wins: a client whose connection broke comes back before
//! the server has noticed that the old one is dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::timeout;

use crate::error::{Reason, Result};
use crate::image::ImageId;
use crate::ingest::hash_pool::HashState;

/// Whoever is asked to leave has to make its bytes durable first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the digests of an upload stand between two writers: behind so many bytes.
pub(in crate::registry) type Parked = Option<(u64, HashState)>;

/// The desk of one upload.
#[derive(Default)]
struct Desk {
    lock: Arc<tokio::sync::Mutex<Parked>>,
    waiting: AtomicUsize,
    knock: Notify,
}

/// All upload_locks.
#[derive(Default)]
pub(in crate::registry) struct UploadLocks(Mutex<HashMap<ImageId, Arc<Desk>>>);

/// The right to write an upload.
pub(in crate::registry) struct UploadLock {
    desk: Arc<Desk>,
    pub(in crate::registry) parked: OwnedMutexGuard<Parked>,
}

impl UploadLocks {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<ImageId, Arc<Desk>>> {
        // Nobody panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock of an upload, from whoever has it.
    ///
    /// # Errors
    /// `Busy`: it was not given up in time.
    pub(in crate::registry) async fn take(&self, id: ImageId) -> Result<UploadLock> {
        let desk = Arc::clone(self.all().entry(id).or_default());
        let _waiting = Waiting::at(&desk);
        desk.knock.notify_waiters();
        match timeout(PATIENCE, Arc::clone(&desk.lock).lock_owned()).await {
            Ok(parked) => Ok(UploadLock { desk: Arc::clone(&desk), parked }),
            Err(_) => Err(Reason::UploadBusy.into()),
        }
    }

    /// Takes the lock if nobody has it.
    pub(in crate::registry) fn take_free(&self, id: ImageId) -> Option<UploadLock> {
        let desk = Arc::clone(self.all().entry(id).or_default());
        let parked = Arc::clone(&desk.lock).try_lock_owned().ok()?;
        Some(UploadLock { desk, parked })
    }

    /// Forgets the upload_locks that nobody sits at, but those of `live` uploads.
    pub(in crate::registry) fn clear(&self, live: &[ImageId]) {
        self.all().retain(|id, desk| live.contains(id) || Arc::strong_count(desk) > 1);
    }
}

/// Counts for as long as somebody waits, however the waiting ends.
struct Waiting<'a>(&'a Desk);

impl<'a> Waiting<'a> {
    fn at(desk: &'a Desk) -> Self {
        desk.waiting.fetch_add(1, Ordering::SeqCst);
        Self(desk)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl UploadLock {
    /// Waits until somebody else wants the lock.
    pub(in crate::registry) async fn wanted(&self) {
        loop {
            let knock = self.desk.knock.notified();
            // Asked for after the knock can be heard, so that none is missed.
            if self.desk.waiting.load(Ordering::SeqCst) > 0 {
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
    async fn the_newest_gets_the_seat() {
        let (upload_locks, id) = (Arc::new(UploadLocks::default()), ImageId::random());
        let first = upload_locks.take(id).await.unwrap();
        assert!(upload_locks.take_free(id).is_none());
        let other = Arc::clone(&upload_locks);
        let taker = tokio::spawn(async move { other.take(id).await.unwrap().wanted().await });
        first.wanted().await;
        assert!(upload_locks.take_free(id).is_none());
        drop(first);
        // Nobody wants it from the second, until somebody does.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!taker.is_finished());
        let third = upload_locks.take(id).await.unwrap();
        taker.await.unwrap();
        drop(third);
        upload_locks.clear(&[]);
        assert!(upload_locks.all().is_empty());
    }
}
