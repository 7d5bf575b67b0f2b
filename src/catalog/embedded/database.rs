//! The directory of the database: opened when it is whole and of today's shape, made anew beside the one that is not.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::shape::{Stamp, stamp};
use super::state::State;
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Engine, KeyRange, Table};
use crate::catalog::row;
use crate::catalog::stored::SHAPE;

/// Counters of so many images go into one batch.
const COUNTERS_PAGE: usize = 128;

/// A database that is whole and of today's shape, with how far it has come.
pub(super) type Usable = (SledEngine, State);

/// Reason why a database can't be used as it is.
pub(super) enum Unusable {
    /// It is missing, damaged, or not trusted.
    Broken(String),
    /// It is whole, and of the shape of an earlier program.
    Older(Older),
}

/// A whole database of an earlier shape. Nothing in it can be read but the counters of reads, and how far it has come.
pub(super) struct Older {
    engine: SledEngine,
    pub(super) state: State,
    pub(super) shape: u32,
}

impl Older {
    /// Says what it is, for a message.
    pub(super) fn describe(&self) -> String {
        format!("it is of shape {}, this program's are of shape {SHAPE}", self.shape)
    }

    /// Puts the counters of reads, which the journal does not have, into another engine, as far as their images are there.
    pub(super) fn put_counters_into(&self, engine: &dyn Engine) -> Result<(), String> {
        let mut range = KeyRange::all(Table::Access);
        loop {
            let some = self.engine.scan(&range, false, COUNTERS_PAGE).map_err(|error| error.to_string())?;
            let Some((last, _)) = some.last() else { return Ok(()) };
            range.start = Bound::Excluded(last.clone());
            let mut batch = Batch::default();
            for (id, counters) in &some {
                let there = engine.get(Table::Image, id).map_err(|error| error.to_string())?.is_some();
                if let (true, Ok(access)) = (there, row::decode_access(counters)) {
                    let counters = row::encode_access(access).map_err(|error| error.to_string())?;
                    batch.put(Table::Access, id.as_slice(), counters);
                }
            }
            engine.commit(&batch).map_err(|error| error.to_string())?;
        }
    }
}

pub(super) fn engine_dir(dir: &Path) -> PathBuf {
    dir.join("sled")
}

/// A file whose presence asks the next start for a rebuild.
fn rebuild_note(dir: &Path) -> PathBuf {
    dir.join("rebuild")
}

/// Asks the next start for a rebuild.
pub(crate) fn demand_rebuild(dir: &Path) -> io::Result<()> {
    std::fs::write(rebuild_note(dir), "The metadata database failed; rebuild it from the journal.\n")
}

/// Opens the database, if it is whole and of today's shape; or says why it can't be used.
///
/// # Errors
/// A later program wrote it.
pub(super) fn open_engine(dir: &Path, cache_bytes: u64) -> io::Result<Result<Usable, Unusable>> {
    let broken = |why: String| Ok(Err(Unusable::Broken(why)));
    if rebuild_note(dir).exists() {
        return broken("a rebuild was asked for".into());
    }
    if !engine_dir(dir).exists() {
        return broken("it is missing".into());
    }
    let engine = match SledEngine::open(&engine_dir(dir), cache_bytes) {
        Ok(engine) => engine,
        Err(error) => return broken(error.to_string()),
    };
    match stamp(&engine) {
        Ok(Stamp::Today) => match State::verify(&engine) {
            Ok(state) => Ok(Ok((engine, state.unwrap_or_default()))),
            Err(why) => broken(why),
        },
        Ok(Stamp::Older(shape)) => match State::verify_undecoded(&engine) {
            Ok(state) => Ok(Err(Unusable::Older(Older { engine, state: state.unwrap_or_default(), shape }))),
            Err(why) => broken(why),
        },
        // A later program's data is neither damage nor ours to throw away.
        Ok(Stamp::Newer(shape)) => Err(io::Error::other(format!(
            "the catalogue's database has shape {shape}, this program knows up to {SHAPE}: use a newer visor"
        ))),
        Err(error) => broken(error.to_string()),
    }
}

/// Built aside and renamed, so that a crash half way leaves no half database under the right name.
///
/// `fill` fills the empty engine, and says how far that has come and whether changes may be missing.
pub(super) fn rebuild_on_disk(
    dir: &Path,
    cache_bytes: u64,
    fill: impl FnOnce(&SledEngine) -> io::Result<(State, bool)>,
) -> io::Result<(SledEngine, State, bool)> {
    let (place, aside) = (engine_dir(dir), dir.join("sled.new"));
    remove_dir(&aside)?;
    let engine = SledEngine::open(&aside, cache_bytes).map_err(io::Error::other)?;
    stamp(&engine).map_err(io::Error::other)?;
    let (state, lost) = fill(&engine)?;
    engine.close().map_err(io::Error::other)?;
    drop(engine);
    remove_dir(&place)?;
    std::fs::rename(&aside, &place)?;
    let engine = SledEngine::open(&place, cache_bytes).map_err(io::Error::other)?;
    match std::fs::remove_file(rebuild_note(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok((engine, state, lost)),
    }
}

/// Removes a directory, if it is there.
fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
