//! The default engine: sled 0.34, and the only file that names it.
//!
//! Promises that sled lacks are made up for here or above:
//! - its `flush` is no real sync, and some damage makes it panic or lose records silently: the journal is the truth,
//!   every call is guarded against panics, and the entries are checked at the start (`super::super::open`);
//! - a kill during a snapshot leaves `snap.*.generating`, which sled later takes for a snapshot and refuses
//!   to open (sled#1527): such files are removed first, under our own lock on the directory;
//! - the lock of a killed process may linger: opening is tried for a few seconds;
//! - separate trees tear: one transaction covers all trees of a batch;
//! - garbage grows in memory while sled's threads are not scheduled: bulk loading flushes meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sled::Transactional;
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};

use super::{Batch, Engine, EngineError, Entry, KeyRange, Table};

/// Longest wait for the lock of a process that is ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Written keys after which sled flushes, which also lets it collect its garbage.
const WRITES_PER_FLUSH: usize = 16 * 1024;

/// A sled database with one tree per table.
#[derive(Debug)]
pub struct SledEngine {
    db: sled::Db,
    trees: [sled::Tree; Table::ALL.len()],
    unflushed: AtomicUsize,
}

fn broken(error: impl std::fmt::Display) -> EngineError {
    EngineError::Broken(error.to_string())
}

/// Runs a call into sled, and turns its panic into an error.
///
/// `AssertUnwindSafe`: after a panic the engine is reported broken and not used again.
fn contained<T>(call: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(broken("sled panicked")))
}

impl SledEngine {
    /// Opens or creates the database in `dir`. `cache_bytes` bounds sled's page cache, not all of its memory.
    ///
    /// # Errors
    /// `Broken` when sled refuses or panics. The caller holds the lock of the data directory.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self, EngineError> {
        remove_half_snapshots(dir).map_err(broken)?;
        let config = sled::Config::new().path(dir).cache_capacity(cache_bytes);
        let deadline = Instant::now() + LOCK_PATIENCE;
        let db = loop {
            match contained(|| Ok(config.open()))? {
                Ok(db) => break db,
                Err(error) if error.to_string().contains("acquire lock") && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => return Err(broken(error)),
            }
        };
        contained(|| {
            let open = |table: Table| db.open_tree(table.name()).map_err(broken);
            let trees = [open(Table::Meta)?, open(Table::Image)?, open(Table::Index)?, open(Table::Access)?];
            Ok(Self { db: db.clone(), trees, unflushed: AtomicUsize::new(0) })
        })
    }

    fn tree(&self, table: Table) -> &sled::Tree {
        &self.trees[table as usize]
    }
}

/// Removes unfinished snapshots of a killed process.
fn remove_half_snapshots(dir: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            log::info!("removing {name}, which an earlier run left unfinished");
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

impl Engine for SledEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        contained(|| Ok(self.tree(table).get(key).map_err(broken)?.map(|value| value.to_vec())))
    }

    fn scan(&self, range: &KeyRange, backwards: bool, limit: usize) -> Result<Vec<Entry>, EngineError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        contained(|| {
            let own = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
                entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(broken)
            };
            let entries = self.tree(range.table).range((range.start.clone(), range.end.clone()));
            if backwards {
                entries.rev().take(limit).map(own).collect()
            } else {
                entries.take(limit).map(own).collect()
            }
        })
    }

    fn commit(&self, batch: &Batch) -> Result<(), EngineError> {
        contained(|| {
            let outcome = self.trees[..].transaction(|trees: &Vec<TransactionalTree>| apply(trees, batch));
            match outcome {
                Ok(()) => {}
                Err(TransactionError::Abort(())) => return Err(EngineError::Conflict),
                Err(TransactionError::Storage(error)) => return Err(broken(error)),
            }
            let written = batch.writes.len();
            if self.unflushed.fetch_add(written, Ordering::Relaxed) + written >= WRITES_PER_FLUSH {
                self.unflushed.store(0, Ordering::Relaxed);
                self.db.flush().map_err(broken)?;
            }
            Ok(())
        })
    }

    fn close(&self) -> Result<(), EngineError> {
        contained(|| self.db.flush().map(drop).map_err(broken))
    }
}

/// The body of the transaction. sled may run it more than once, so it only depends on its arguments.
fn apply(trees: &[TransactionalTree], batch: &Batch) -> Result<(), ConflictableTransactionError<()>> {
    for guard in &batch.guards {
        if trees[guard.table as usize].get(&guard.key)?.as_deref() != guard.expect.as_deref() {
            return Err(ConflictableTransactionError::Abort(()));
        }
    }
    for write in &batch.writes {
        let tree = &trees[write.table as usize];
        match &write.value {
            Some(value) => tree.insert(write.key.as_slice(), value.as_slice())?,
            None => tree.remove(write.key.as_slice())?,
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::suite;
    use super::*;

    #[test]
    fn keeps_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        suite::run(&SledEngine::open(dir.path(), 16 << 20).unwrap());
    }

    #[test]
    fn what_was_closed_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut batch = Batch::default();
        batch.put(Table::Image, "k", "v");
        let engine = SledEngine::open(dir.path(), 16 << 20).unwrap();
        engine.commit(&batch).unwrap();
        engine.close().unwrap();
        drop(engine);
        let engine = SledEngine::open(dir.path(), 16 << 20).unwrap();
        assert_eq!(engine.get(Table::Image, b"k").unwrap(), Some(b"v".to_vec()));
    }

    /// sled#1527: without the removal this fails with `Corruption`.
    #[test]
    fn opens_over_a_snapshot_that_was_never_finished() {
        let dir = tempfile::tempdir().unwrap();
        let mut batch = Batch::default();
        batch.put(Table::Image, "k", "v");
        let engine = SledEngine::open(dir.path(), 16 << 20).unwrap();
        engine.commit(&batch).unwrap();
        engine.close().unwrap();
        drop(engine);
        std::fs::write(dir.path().join("snap.00000000FFFFFFFF.generating"), b"").unwrap();
        let engine = SledEngine::open(dir.path(), 16 << 20).unwrap();
        assert_eq!(engine.get(Table::Image, b"k").unwrap(), Some(b"v".to_vec()));
    }

    #[test]
    fn a_panic_inside_is_an_error_outside() {
        let error = contained::<()>(|| panic!("as sled does over a flipped bit")).unwrap_err();
        assert!(matches!(error, EngineError::Broken(_)));
    }
}
