//! Which images somebody reads right now: what goes by itself, an image that has expired say, waits for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::ImageId;

/// How many read which image. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers(Arc<Mutex<HashMap<ImageId, usize>>>);

impl Readers {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<ImageId, usize>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One more reads an image, until this is dropped.
    pub(super) fn lease(&self, id: ImageId) -> Lease {
        self.with(|readers| *readers.entry(id).or_default() += 1);
        Lease { readers: self.clone(), id }
    }

    /// Whether somebody reads an image.
    pub(super) fn has(&self, id: ImageId) -> bool {
        self.with(|readers| readers.contains_key(&id))
    }
}

/// Somebody reads an image.
#[derive(Debug)]
pub(super) struct Lease {
    readers: Readers,
    id: ImageId,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.readers.with(|readers| {
            if let Some(count) = readers.get_mut(&self.id) {
                *count -= 1;
                if *count == 0 {
                    readers.remove(&self.id);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reader_ends_it() {
        let (readers, id) = (Readers::default(), ImageId::random());
        let (first, second) = (readers.lease(id), readers.lease(id));
        drop(first);
        assert!(readers.has(id) && !readers.has(ImageId::random()));
        drop(second);
        assert!(!readers.has(id) && readers.with(|readers| readers.is_empty()));
    }
}
