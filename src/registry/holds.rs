//! Ids whose files are still being worked on, also when their record is gone.
//!
//! An id that we make is never made again. One that a caller chooses may have been that of an image whose upload or
//! removal is not at its end yet: as long as it is held, it is taken, so that the one's bytes never get into the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::image::ImageId;

/// How many hold each id. Bounded by the uploads and removals that run.
type Counts = HashMap<ImageId, usize>;

/// All ids that are held.
#[derive(Default)]
pub(super) struct Holds(Arc<Mutex<Counts>>);

/// Holds an id until it is dropped.
pub(super) struct Hold {
    all: Arc<Mutex<Counts>>,
    id: ImageId,
}

fn lock(counts: &Mutex<Counts>) -> std::sync::MutexGuard<'_, Counts> {
    // Nobody panics between two changes that belong together.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Holds {
    /// Holds an id, beside others that do.
    pub(super) fn hold(&self, id: ImageId) -> Hold {
        *lock(&self.0).entry(id).or_default() += 1;
        Hold { all: Arc::clone(&self.0), id }
    }

    /// Whether anybody holds an id.
    pub(super) fn is_held(&self, id: ImageId) -> bool {
        lock(&self.0).contains_key(&id)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = lock(&self.all);
        if let Some(count) = counts.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_free_when_the_last_lets_go() {
        let (holds, id) = (Holds::default(), ImageId::random());
        let (one, other) = (holds.hold(id), holds.hold(id));
        drop(one);
        assert!(holds.is_held(id) && !holds.is_held(ImageId::random()));
        drop(other);
        assert!(!holds.is_held(id) && lock(&holds.0).is_empty());
    }
}
