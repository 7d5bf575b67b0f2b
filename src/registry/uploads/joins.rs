//! Joins that were made, for clients that ask again. Knows no store and no record.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::image::ImageId;

/// Maximum number of joins that are remembered.
const JOINS_MAX: usize = 256;

/// Parts that are joined already, with the upload that they are in: the newest, last. A client whose connection broke before the
/// answer asks again, and the parts are removed by then.
#[derive(Default)]
pub(in crate::registry) struct Joins(Mutex<VecDeque<(Vec<ImageId>, ImageId)>>);

impl Joins {
    fn all(&self) -> MutexGuard<'_, VecDeque<(Vec<ImageId>, ImageId)>> {
        // No code panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a join.
    pub(in crate::registry) fn note(&self, parts: Vec<ImageId>, id: ImageId) {
        let mut all = self.all();
        if all.len() == JOINS_MAX {
            all.pop_front();
        }
        all.push_back((parts, id));
    }

    /// The upload that these parts are in, in this order.
    pub(in crate::registry) fn of(&self, parts: &[ImageId]) -> Option<ImageId> {
        self.all().iter().find(|(joined, _)| joined == parts).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let (joins, parts) = (Joins::default(), [ImageId::random(), ImageId::random()]);
        joins.note(parts.to_vec(), parts[0]);
        assert_eq!((joins.of(&parts), joins.of(&parts[..1])), (Some(parts[0]), None));
        for _ in 0..JOINS_MAX {
            joins.note(vec![ImageId::random()], parts[0]);
        }
        assert_eq!((joins.of(&parts), joins.all().len()), (None, JOINS_MAX));
    }
}
