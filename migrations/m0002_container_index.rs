//! Layout 2: an index by container format, which every image has an entry in. Rows of layout 1 know no containers, so all
//! of them stand under "none". (The indexes over tags and members came with it, and have no entries for such rows.)

use std::ops::Bound;

use super::Step;
use crate::catalog::engine::{Batch, Engine, EngineError, KeyRange, Table};

pub(super) const STEP: Step = Step { to: 2, name: "container index", run };

/// The index by time of creation, as layout 1 has it: every image has one entry, and a time.
const CREATED_AT_TAG: u8 = 13;
/// The new index.
const CONTAINER_TAG: u8 = 16;
/// Stands for "no value".
const ABSENT: u8 = 0;
/// Time of creation and id, which every entry ends with.
const TAIL_BYTES: usize = 24;

/// Entries of one batch.
const BATCH: usize = 512;

fn run(engine: &dyn Engine) -> Result<(), EngineError> {
    let mut range = KeyRange::prefix(Table::Index, &[CREATED_AT_TAG]);
    loop {
        let entries = engine.scan(&range, false, BATCH)?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        range.start = Bound::Excluded(last.clone());
        let mut batch = Batch::default();
        for (key, _) in &entries {
            let tail =
                key.last_chunk::<TAIL_BYTES>().ok_or_else(|| EngineError::Broken("a short index entry".into()))?;
            batch.put(Table::Index, [&[CONTAINER_TAG, ABSENT], &tail[..]].concat(), []);
        }
        engine.commit(&batch)?;
    }
}
