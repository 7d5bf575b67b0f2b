//! Free space in the stores: the check before a write, and the reserve that is released to make room.

use std::sync::Arc;

use async_trait::async_trait;

use crate::blob::Stores;
use crate::error::{Error, Reason, Result};
use crate::image::StoreName;

/// The reserve: files that are kept only while their space is not needed.
#[async_trait]
pub(crate) trait Reserve: Send + Sync {
    /// Removes all such files of a store, unless that would free fewer than `missing` bytes.
    ///
    /// # Errors
    /// `Internal` when the files can't be listed.
    async fn release(&self, store: &StoreName, missing: u64) -> Result<()>;
}

/// The space in all stores.
pub(crate) struct Room {
    stores: Arc<Stores>,
    /// Bytes to leave free in each store.
    free_bytes_min: u64,
    reserve: Arc<dyn Reserve>,
}

impl Room {
    pub(crate) fn new(stores: Arc<Stores>, free_bytes_min: u64, reserve: Arc<dyn Reserve>) -> Self {
        Self { stores, free_bytes_min, reserve }
    }

    /// Bytes that a store can take; none if the store does not know.
    async fn left(&self, store: &StoreName) -> Option<u64> {
        Some(self.stores.free(store).await?.saturating_sub(self.free_bytes_min))
    }

    /// Checks that a file of `size` bytes fits into a store, after releasing the reserve if necessary.
    ///
    /// # Errors
    /// `StoreFull`; `Internal`.
    pub(crate) async fn reserve(&self, store: &StoreName, size: u64) -> Result<()> {
        let fits = |room: Option<u64>| room.is_none_or(|room| size.max(1) <= room);
        let room = self.left(store).await;
        if fits(room) {
            return Ok(());
        }
        self.reserve.release(store, size.saturating_sub(room.unwrap_or(0))).await?;
        match self.left(store).await {
            Some(room) if !fits(Some(room)) => Err(no_room(size, room)),
            _ => Ok(()),
        }
    }

    /// Checks that the free space of a store, into which a file of unknown length is being written, has not fallen
    /// below its minimum.
    ///
    /// # Errors
    /// `StoreFull`; `Internal`.
    pub(crate) async fn check(&self, store: &StoreName) -> Result<()> {
        if self.left(store).await == Some(0) {
            self.reserve.release(store, 0).await?;
        }
        match self.stores.free(store).await {
            Some(free) if free < self.free_bytes_min => {
                let text = format!("The file does not fit: {free} bytes are left, and so much has to stay free.");
                Err(Reason::StoreFull.saying(text))
            }
            _ => Ok(()),
        }
    }
}

fn no_room(size: u64, room: u64) -> Error {
    let needs = if size > 0 { format!("The file needs {size} bytes and there") } else { "There".to_owned() };
    let text = format!("{needs} is room for {room}: {} too few.", size.max(1).saturating_sub(room));
    Reason::StoreFull.saying(text)
}
