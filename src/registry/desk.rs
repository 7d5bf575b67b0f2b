//! One writer at a time for each resumable upload, and the newest wins: a client whose connection broke comes back before
//! the server has noticed that the old one is dead.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedMutexGuard};
use tokio::time::timeout;

use super::lanes::Digesting;
use crate::error::{Error, Kind, Result};
use crate::image::ImageId;

/// Whoever is asked to leave has to make its bytes durable first.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the digests of an upload stand between two writers: behind so many bytes.
pub(super) type Parked = Option<(u64, Digesting)>;

/// The desk of one upload.
#[derive(Default)]
struct Desk {
    seat: Arc<tokio::sync::Mutex<Parked>>,
    waiting: AtomicUsize,
    knock: Notify,
}

/// All desks.
#[derive(Default)]
pub(super) struct Desks(Mutex<HashMap<ImageId, Arc<Desk>>>);

/// The right to write an upload.
pub(super) struct Seat {
    desk: Arc<Desk>,
    pub(super) parked: OwnedMutexGuard<Parked>,
}

impl Desks {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<ImageId, Arc<Desk>>> {
        // Nobody panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the seat of an upload, from whoever has it.
    ///
    /// # Errors
    /// `Busy`: it was not given up in time.
    pub(super) async fn take(&self, id: ImageId) -> Result<Seat> {
        let desk = Arc::clone(self.all().entry(id).or_default());
        let _waiting = Waiting::at(&desk);
        desk.knock.notify_waiters();
        match timeout(PATIENCE, Arc::clone(&desk.seat).lock_owned()).await {
            Ok(parked) => Ok(Seat { desk: Arc::clone(&desk), parked }),
            Err(_) => Err(Error::new(Kind::Busy, "Another request is still writing to this upload; try again.")),
        }
    }

    /// Takes the seat if nobody has it.
    pub(super) fn take_free(&self, id: ImageId) -> Option<Seat> {
        let desk = Arc::clone(self.all().entry(id).or_default());
        let parked = Arc::clone(&desk.seat).try_lock_owned().ok()?;
        Some(Seat { desk, parked })
    }

    /// Forgets the desks that nobody sits at, but those of `live` uploads.
    pub(super) fn clear(&self, live: &[ImageId]) {
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

impl Seat {
    /// Waits until somebody else wants the seat.
    pub(super) async fn wanted(&self) {
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
        let (desks, id) = (Arc::new(Desks::default()), ImageId::random());
        let first = desks.take(id).await.unwrap();
        assert!(desks.take_free(id).is_none());
        let other = Arc::clone(&desks);
        let taker = tokio::spawn(async move { other.take(id).await.unwrap().wanted().await });
        first.wanted().await;
        assert!(desks.take_free(id).is_none());
        drop(first);
        // Nobody wants it from the second, until somebody does.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!taker.is_finished());
        let third = desks.take(id).await.unwrap();
        taker.await.unwrap();
        drop(third);
        desks.clear(&[]);
        assert!(desks.all().is_empty());
    }
}
