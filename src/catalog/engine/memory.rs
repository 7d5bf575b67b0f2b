//! The engine in memory: for tests, as the reference for other engines, and as the replacement
//! when the database on disk fails under a running server.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use super::{Batch, Engine, EngineError, Entry, KeyRange, Table};

type Tables = [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()];

/// Sorted maps behind one lock.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    tables: RwLock<Tables>,
}

impl MemoryEngine {
    /// Commits replace whole values, so data behind a poisoned lock is still consistent.
    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.read()[table as usize].get(key).cloned())
    }

    fn scan(&self, range: &KeyRange, backwards: bool, limit: usize) -> Result<Vec<Entry>, EngineError> {
        // BTreeMap panics on a range that ends before it starts.
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let tables = self.read();
        let bounds: (Bound<&[u8]>, Bound<&[u8]>) =
            (range.start.as_ref().map(Vec::as_slice), range.end.as_ref().map(Vec::as_slice));
        let entries = tables[range.table as usize].range::<[u8], _>(bounds);
        let own = |(key, value): (&Vec<u8>, &Vec<u8>)| (key.clone(), value.clone());
        Ok(if backwards {
            entries.rev().take(limit).map(own).collect()
        } else {
            entries.take(limit).map(own).collect()
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        for guard in &batch.guards {
            if tables[guard.table as usize].get(&guard.key) != guard.expect.as_ref() {
                return Err(EngineError::Conflict);
            }
        }
        for write in &batch.writes {
            let table = &mut tables[write.table as usize];
            match &write.value {
                Some(value) => table.insert(write.key.clone(), value.clone()),
                None => table.remove(&write.key),
            };
        }
        Ok(())
    }

    fn close(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;

    #[test]
    fn keeps_the_contract() {
        suite::run(&MemoryEngine::default());
    }
}
