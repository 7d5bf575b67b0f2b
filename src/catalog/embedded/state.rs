//! Progress of an engine: one small value, committed with every batch. It makes a stale, damaged or
//! shortened database visible at the start.

use crate::catalog::engine::{Batch, Engine, EngineError, KeyRange, Table};
use crate::catalog::row;
use crate::catalog::stored::RowError;
use crate::image::Image;

/// Key in the meta table.
const KEY: &[u8] = b"state";

/// Rows are read in pages of this many when a whole table is checked.
const PAGE: usize = 1024;

/// Progress of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// Sequence number of the last change applied.
    pub(crate) seq: u64,
    /// Number of images.
    pub(crate) images: u64,
    /// XOR over a hash of each row: order does not matter, and a changed, lost or doubled row shows.
    pub(crate) digest: u64,
}

/// A row's share of the digest. Only 32 of its bits tell rows apart, since the second CRC follows from the first: enough against
/// chance, and every database on disk has it.
fn row_hash(bytes: &[u8]) -> u64 {
    u64::from(crc32fast::hash(bytes)) << 32 | u64::from(crc32fast::hash(&[bytes, b"visor"].concat()))
}

impl State {
    /// Reads the state of an engine; `None` if the engine was never written to.
    pub(crate) fn load(engine: &dyn Engine) -> Result<Option<Self>, EngineError> {
        let Some(bytes) = engine.get(Table::Meta, KEY)? else { return Ok(None) };
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes);
        match (number(0), number(8), number(16), bytes.len()) {
            (Some(seq), Some(images), Some(digest), 24) => Ok(Some(Self { seq, images, digest })),
            _ => Err(EngineError::Broken("its state can't be read".into())),
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        [self.seq.to_be_bytes(), self.images.to_be_bytes(), self.digest.to_be_bytes()].concat()
    }

    /// Adds the step from `before` to this state to a batch, with a guard against other writers.
    pub(crate) fn advance(self, before: Option<State>, batch: &mut Batch) {
        batch.guard(Table::Meta, KEY, before.map(State::to_bytes));
        batch.put(Table::Meta, KEY, self.to_bytes());
    }

    /// Replaces the share of one row by that of another.
    pub(crate) fn exchange(&mut self, old: Option<&[u8]>, new: Option<&[u8]>) {
        for (row, added) in [(old, false), (new, true)] {
            let Some(row) = row else { continue };
            self.digest ^= row_hash(row);
            self.images = if added { self.images + 1 } else { self.images.saturating_sub(1) };
        }
    }

    /// Reads and decodes every row of an engine, and compares the rows with the engine's state.
    ///
    /// Returns the state, or a description of the damage.
    pub(crate) fn verify(engine: &dyn Engine) -> Result<Option<Self>, String> {
        Self::compare(engine, |counted| each_row(engine, |bytes, _| counted(bytes)))
    }

    /// Compares the rows of an engine, which may have another shape, with the engine's state.
    ///
    /// Returns the state, or a description of the damage.
    pub(crate) fn verify_undecoded(engine: &dyn Engine) -> Result<Option<Self>, String> {
        Self::compare(engine, |counted| each_entry(engine, |_, bytes| counted(bytes)))
    }

    fn compare(
        engine: &dyn Engine,
        rows: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String>,
    ) -> Result<Option<Self>, String> {
        let claimed = State::load(engine).map_err(|error| error.to_string())?;
        let mut found = State { seq: claimed.map_or(0, |state| state.seq), ..State::default() };
        rows(&mut |bytes| {
            found.exchange(None, Some(bytes));
            Ok(())
        })?;
        match claimed {
            None if found.images > 0 => Err("it has rows, but does not say how far it has come".into()),
            Some(claimed) if claimed != found => {
                Err(format!("it should have {} images and has {}, or other rows", claimed.images, found.images))
            }
            claimed => Ok(claimed),
        }
    }
}

/// Passes every row to `each`, in the order of ids: its bytes, and the decoded image.
pub(crate) fn each_row(
    engine: &dyn Engine,
    mut each: impl FnMut(&[u8], Image) -> Result<(), String>,
) -> Result<(), String> {
    each_entry(engine, |key, bytes| {
        let image = row::decode(bytes).map_err(|error: RowError| error.to_string())?;
        if image.id.as_bytes() != key {
            return Err("a row lies under another image's id".into());
        }
        each(bytes, image)
    })
}

/// Passes every entry of the table of images to `each`: id and row, as bytes.
fn each_entry(engine: &dyn Engine, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
    let mut range = KeyRange::all(Table::Image);
    loop {
        let rows = engine.scan(&range, false, PAGE).map_err(|error| error.to_string())?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        range.start = std::ops::Bound::Excluded(last.clone());
        for (key, bytes) in &rows {
            each(key, bytes)?;
        }
    }
}
