//! The sieve of a walk: index entries that every image of the answer has. An image without one of them need not be read, and the
//! look-up of a key costs a fraction of reading a row.
//!
//! It decides only what is read: a row that it lets through is tested against the whole filter.

use super::engine::{Engine, EngineError, Table};
use super::index::tail;
use super::plan::required;
use crate::image::query::Filter;

/// Looked-up keys of a condition before it is judged.
const TRIAL: u32 = 64;

/// Share of the images that a condition has to keep out to be worth its look-ups: one in this many.
const WORTH: u32 = 8;

/// A condition, by the prefix of its entries.
#[derive(Debug)]
struct Condition {
    prefix: Vec<u8>,
    asked: u32,
    kept_out: u32,
}

/// Conditions that are looked up before a row is read.
#[derive(Debug)]
pub(crate) struct Sieve(Vec<Condition>);

impl Sieve {
    /// The conditions of a filter that can be looked up. `walked` is the prefix of the entries that are walked: they have it
    /// already.
    pub(crate) fn of(filter: &Filter, walked: Option<&[u8]>) -> Self {
        let prefixes = required(filter).into_iter().filter(|prefix| walked != Some(prefix.as_slice()));
        Self(prefixes.map(|prefix| Condition { prefix, asked: 0, kept_out: 0 }).collect())
    }

    /// Tells whether the image of a walked entry can pass.
    pub(crate) fn passes(&mut self, engine: &dyn Engine, table: Table, key: &[u8]) -> Result<bool, EngineError> {
        // A row's key lacks the time of creation, which is a part of every entry's key.
        if table != Table::Index {
            return Ok(true);
        }
        for condition in &mut self.0 {
            condition.asked += 1;
            if engine.get(Table::Index, &[&condition.prefix[..], tail(key)].concat())?.is_none() {
                condition.kept_out += 1;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops conditions that keep out too little, and puts those first that keep out most. Between two pieces of a walk.
    pub(crate) fn settle(&mut self) {
        self.0
            .retain(|condition| condition.asked < TRIAL || condition.kept_out.saturating_mul(WORTH) >= condition.asked);
        // Those behind are asked less often: only what is left of the images.
        self.0.sort_by_key(|condition| {
            std::cmp::Reverse(u64::from(condition.kept_out) * 1024 / u64::from(condition.asked.max(1)))
        });
    }
}
