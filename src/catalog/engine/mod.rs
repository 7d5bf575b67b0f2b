//! The metadata seam: ordered keys in a few tables, and batches that are committed whole under guards.
//!
//! An engine knows nothing of images, indexes or journals. All rules live above this seam, once.
//!
//! The contract:
//! - keys are ordered bytewise;
//! - a batch is applied completely or not at all, also across a crash, and only if all of its guards hold;
//! - a scan is a page, not a snapshot: at most `limit` entries, and a concurrent commit may show in it;
//! - an engine need not be durable. The journal above it is; an engine that lags behind is
//!   brought forward, a damaged one is rebuilt;
//! - calls are synchronous: both engines answer from memory in microseconds, which is less than a thread hop.

pub mod memory;
pub mod sled;
#[cfg(test)]
pub(crate) mod suite;

use std::fmt::Debug;
use std::ops::Bound;

/// Key spaces. An engine stores them under their names; a name is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Facts about the catalogue: its shape, the state of the engine.
    Meta,
    /// Image id → row.
    Image,
    /// Secondary index entries: all in the key, no value.
    Index,
    /// Image id → number of reads.
    Access,
}

impl Table {
    /// Every table.
    pub const ALL: [Table; 4] = [Table::Meta, Table::Image, Table::Index, Table::Access];

    /// Name of the table in the engine.
    pub fn name(self) -> &'static str {
        match self {
            Table::Meta => "meta",
            Table::Image => "image",
            Table::Index => "index",
            Table::Access => "access",
        }
    }
}

/// A range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// Table of the keys.
    pub table: Table,
    /// First key.
    pub start: Bound<Vec<u8>>,
    /// End of the keys.
    pub end: Bound<Vec<u8>>,
}

impl KeyRange {
    /// The whole table.
    pub fn all(table: Table) -> Self {
        Self { table, start: Bound::Unbounded, end: Bound::Unbounded }
    }

    /// All keys that begin with `prefix`.
    pub fn prefix(table: Table, prefix: &[u8]) -> Self {
        Self { table, start: Bound::Included(prefix.to_vec()), end: after_prefix(prefix) }
    }

    /// Tells whether the range is empty.
    pub fn is_empty(&self) -> bool {
        match (&self.start, &self.end) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Excluded(end) | Bound::Included(end)) => {
                start >= end
            }
        }
    }
}

/// First key after all keys that begin with `prefix`.
pub fn after_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A condition for committing a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// Table of the key.
    pub table: Table,
    /// Key to check.
    pub key: Vec<u8>,
    /// Expected value; `None` for a missing key.
    pub expect: Option<Vec<u8>>,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Table of the key.
    pub table: Table,
    /// Key to change.
    pub key: Vec<u8>,
    /// The new value; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// Changes that belong together. Later writes to a key win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Conditions.
    pub guards: Vec<Guard>,
    /// Changes.
    pub writes: Vec<Write>,
}

impl Batch {
    /// Adds a put.
    pub fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.writes.push(Write { table, key: key.into(), value: Some(value.into()) });
    }

    /// Adds a removal.
    pub fn delete(&mut self, table: Table, key: impl Into<Vec<u8>>) {
        self.writes.push(Write { table, key: key.into(), value: None });
    }

    /// Adds a guard.
    pub fn guard(&mut self, table: Table, key: impl Into<Vec<u8>>, expect: Option<Vec<u8>>) {
        self.guards.push(Guard { table, key: key.into(), expect });
    }
}

/// Failure of an engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A guard did not hold; nothing was changed.
    #[error("a guard of the batch did not hold")]
    Conflict,
    /// The engine is damaged, full, or panicked. Its entries are not to be trusted.
    #[error("the metadata engine failed: {0}")]
    Broken(String),
}

/// An engine. See the module for the contract.
pub trait Engine: Send + Sync + Debug + 'static {
    /// The value under a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// At most `limit` entries of a range, from its start, or backwards from its end.
    fn scan(&self, range: &KeyRange, backwards: bool, limit: usize) -> Result<Vec<Entry>, EngineError>;

    /// Applies a batch.
    fn commit(&self, batch: &Batch) -> Result<(), EngineError>;

    /// Writes everything to the disk. Called before an engine is dropped at an orderly end.
    fn close(&self) -> Result<(), EngineError>;
}
