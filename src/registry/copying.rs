//! Turns: an image is copied by one request or job at a time.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Reason, Result};
use crate::image::ImageId;

/// Images that are being copied. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Copying(Arc<Mutex<HashSet<ImageId>>>);

/// The right to copy an image, until this is dropped.
pub(super) struct Turn(Copying, ImageId);

impl Copying {
    fn with<T>(&self, work: impl FnOnce(&mut HashSet<ImageId>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, id: ImageId) -> Result<Turn> {
        match self.with(|all| all.insert(id)) {
            true => Ok(Turn(self.clone(), id)),
            false => Err(Reason::BeingCopied.into()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.with(|all| all.remove(&self.1));
    }
}
