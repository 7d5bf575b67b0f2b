//! Active readers of each image: automatic removal, of an expired image for example, waits for them. Knows ids and no
//! images.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::ImageId;

/// Number of readers by image. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Readers(Arc<Mutex<HashMap<ImageId, usize>>>);

impl Readers {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<ImageId, usize>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one more reader of an image until the lease is dropped.
    pub(super) fn lease(&self, id: ImageId) -> Lease {
        self.with(|readers| *readers.entry(id).or_default() += 1);
        Lease { readers: self.clone(), id }
    }

    /// Tells if an image has active readers.
    pub(super) fn has(&self, id: ImageId) -> bool {
        self.with(|readers| readers.contains_key(&id))
    }
}

/// An active reader of an image.
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
