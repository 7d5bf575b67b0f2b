//! The stamp of a database: the shape of its rows and index entries. A database of another shape is never converted; it is a
//! cache, and is rebuilt from the journal.

use crate::catalog::engine::{Batch, Engine, EngineError, KeyRange, Table};
use crate::catalog::stored::SHAPE;

/// Key of the number in the meta table; the value is a big-endian u32. The key is older than the numbers of shapes: up to 4
/// they number layouts, and 1 and 2 come from the time when rows had shapes of their own.
const KEY: &[u8] = b"layout";

/// Shape of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// The shape of this program.
    Today,
    /// The shape of an earlier program.
    Older(u32),
    /// The shape of a later program.
    Newer(u32),
}

/// Reads the stamp of an engine, and stamps an empty one.
///
/// # Errors
/// `Broken` for entries without a stamp; otherwise the error of the engine.
pub(crate) fn stamp(engine: &dyn Engine) -> Result<Stamp, EngineError> {
    let Some(bytes) = engine.get(Table::Meta, KEY)? else {
        for table in Table::ALL {
            if !engine.scan(&KeyRange::all(table), false, 1)?.is_empty() {
                return Err(EngineError::Broken("it has entries but does not say in which shape".into()));
            }
        }
        let mut batch = Batch::default();
        batch.guard(Table::Meta, KEY, None);
        batch.put(Table::Meta, KEY, u32::from(SHAPE).to_be_bytes());
        engine.commit(&batch)?;
        return Ok(Stamp::Today);
    };
    let bytes = bytes.try_into().map_err(|_| EngineError::Broken("its shape can't be read".into()))?;
    let (found, today) = (u32::from_be_bytes(bytes), u32::from(SHAPE));
    Ok(match found.cmp(&today) {
        std::cmp::Ordering::Less => Stamp::Older(found),
        std::cmp::Ordering::Equal => Stamp::Today,
        std::cmp::Ordering::Greater => Stamp::Newer(found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::engine::memory::MemoryEngine;

    #[test]
    fn an_empty_engine_is_stamped_once() {
        let engine = MemoryEngine::default();
        assert_eq!(stamp(&engine).unwrap(), Stamp::Today);
        let before = engine.get(Table::Meta, KEY).unwrap();
        assert_eq!(stamp(&engine).unwrap(), Stamp::Today);
        assert_eq!(engine.get(Table::Meta, KEY).unwrap(), before);
    }

    #[test]
    fn other_and_missing_stamps_are_told_and_left() {
        for (found, expected) in [(2, Stamp::Older(2)), (99, Stamp::Newer(99))] {
            let engine = MemoryEngine::default();
            let mut batch = Batch::default();
            batch.put(Table::Meta, KEY, u32::to_be_bytes(found));
            engine.commit(&batch).unwrap();
            assert_eq!(stamp(&engine).unwrap(), expected);
            assert_eq!(engine.get(Table::Meta, KEY).unwrap(), Some(u32::to_be_bytes(found).into()));
        }
        let engine = MemoryEngine::default();
        let mut batch = Batch::default();
        batch.put(Table::Image, [0], [0]);
        engine.commit(&batch).unwrap();
        assert!(matches!(stamp(&engine), Err(EngineError::Broken(_))));
        assert_eq!(engine.get(Table::Meta, KEY).unwrap(), None);
    }
}
