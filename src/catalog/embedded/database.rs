//! The directory of the database: opened when it is whole and of today's shape; otherwise a new one is built beside it.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use super::shape::{Stamp, stamp};
use super::state::State;
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Engine, EngineError, KeyRange, Table};
use crate::catalog::row;
use crate::catalog::stored::SHAPE;

/// Images whose counters go into one batch.
const COUNTERS_PAGE: usize = 128;

/// A whole database of today's shape, and the state that it has reached.
pub(super) type Usable = (SledEngine, State);

/// Reason why a database can't be used.
pub(super) enum Unusable {
    /// A missing, damaged or untrusted database.
    Broken(String),
    /// A whole database in the shape of an earlier program.
    Older(Older),
}

/// A whole database of an earlier shape. Only the counters of reads and the state can be read from it.
pub(super) struct Older {
    engine: SledEngine,
    pub(super) state: State,
    pub(super) shape: u32,
}

impl Older {
    /// Description for a message.
    pub(super) fn describe(&self) -> String {
        format!("it is of shape {}, this program's are of shape {SHAPE}", self.shape)
    }

    /// Copies the counters of reads, which the journal lacks, into another engine, for images that exist there. Counters that
    /// can't be read are lost: they are a convenience.
    ///
    /// # Errors
    /// The other engine refuses them.
    pub(super) fn put_counters_into(&self, engine: &dyn Engine) -> Result<(), EngineError> {
        let mut range = KeyRange::all(Table::Access);
        loop {
            let some = match self.engine.scan(&range, false, COUNTERS_PAGE) {
                Ok(some) => some,
                Err(error) => {
                    log::warn!("counters of reads are lost: the database of the earlier visor can't be read ({error})");
                    return Ok(());
                }
            };
            let Some((last, _)) = some.last() else { return Ok(()) };
            range.start = Bound::Excluded(last.clone());
            let mut batch = Batch::default();
            for (id, counters) in &some {
                let there = engine.get(Table::Image, id)?.is_some();
                if let (true, Ok(access)) = (there, row::decode_access(counters)) {
                    let counters =
                        row::encode_access(access).map_err(|error| EngineError::Broken(error.to_string()))?;
                    batch.put(Table::Access, id.as_slice(), counters);
                }
            }
            engine.commit(&batch)?;
        }
    }
}

pub(super) fn engine_dir(dir: &Path) -> PathBuf {
    dir.join("sled")
}

/// The place of the replaced database until the new one has its name.
fn replaced_dir(dir: &Path) -> PathBuf {
    dir.join("sled.old")
}

/// A file whose presence asks the next start for a rebuild.
fn rebuild_note(dir: &Path) -> PathBuf {
    dir.join("rebuild")
}

/// Asks the next start for a rebuild.
pub(crate) fn demand_rebuild(dir: &Path) -> io::Result<()> {
    std::fs::write(rebuild_note(dir), "The metadata database failed; rebuild it from the journal.\n")
}

/// Opens the database if it is whole and of today's shape; otherwise returns the reason against it.
///
/// # Errors
/// A later program wrote the database.
pub(super) fn open_engine(dir: &Path, cache_bytes: u64) -> io::Result<Result<Usable, Unusable>> {
    let broken = |why: String| Ok(Err(Unusable::Broken(why)));
    if !engine_dir(dir).exists() {
        // A start that died while it put a new database into the old one's place.
        match std::fs::rename(replaced_dir(dir), engine_dir(dir)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return broken("it is missing".into()),
            renamed => renamed?,
        }
    }
    let engine = match SledEngine::open(&engine_dir(dir), cache_bytes) {
        Ok(engine) => engine,
        Err(error) => return broken(error.to_string()),
    };
    // The stamp before the note: a rebuild from the journal is no reason to lose what another program's database alone has.
    match stamp(&engine) {
        Ok(Stamp::Today) if rebuild_note(dir).exists() => broken("a rebuild was asked for".into()),
        Ok(Stamp::Today) => match State::verify(&engine) {
            Ok(state) => Ok(Ok((engine, state.unwrap_or_default()))),
            Err(why) => broken(why),
        },
        Ok(Stamp::Older(shape)) => match State::verify_undecoded(&engine) {
            Ok(state) => Ok(Err(Unusable::Older(Older { engine, state: state.unwrap_or_default(), shape }))),
            Err(why) => broken(why),
        },
        // A later program's data is not damaged, and not ours to delete.
        Ok(Stamp::Newer(shape)) => Err(io::Error::other(format!(
            "the catalogue's database has shape {shape}, this program knows up to {SHAPE}: use a newer visor"
        ))),
        Err(error) => broken(error.to_string()),
    }
}

/// Builds a database in another directory and renames it: a crash leaves no partial database under the right name, and the
/// replaced one stays until the new one has it.
///
/// `fill` fills the empty engine. It returns the state reached, and whether changes may be missing. `close_replaced` closes
/// the replaced database, once the new one is whole.
pub(super) fn rebuild_on_disk(
    dir: &Path,
    cache_bytes: u64,
    fill: impl FnOnce(&SledEngine) -> io::Result<(State, bool)>,
    close_replaced: impl FnOnce(),
) -> io::Result<(SledEngine, State, bool)> {
    let (place, aside) = (engine_dir(dir), dir.join("sled.new"));
    remove_dir(&aside)?;
    let engine = SledEngine::open(&aside, cache_bytes).map_err(io::Error::other)?;
    stamp(&engine).map_err(io::Error::other)?;
    let (state, lost) = fill(&engine)?;
    engine.close().map_err(io::Error::other)?;
    drop(engine);
    close_replaced();
    let replaced = replaced_dir(dir);
    remove_dir(&replaced)?;
    if place.exists() {
        std::fs::rename(&place, &replaced)?;
    }
    std::fs::rename(&aside, &place)?;
    if let Err(error) = remove_dir(&replaced) {
        log::warn!("the replaced metadata database can't be removed from {}: {error}", replaced.display());
    }
    let engine = SledEngine::open(&place, cache_bytes).map_err(io::Error::other)?;
    match std::fs::remove_file(rebuild_note(dir)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok((engine, state, lost)),
    }
}

/// Removes a directory, if it exists.
fn remove_dir(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
