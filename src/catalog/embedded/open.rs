//! Opening a catalogue: chooses the good copy, and brings the other one to its state.
//!
//! The journal is the truth. A database that lags behind gets the missing changes; one that is missing, damaged, or
//! ahead of a sound journal is rebuilt. A journal that lost changes which a sound database still has is rewritten
//! from the database. Each of these writes one log line.
//!
//! A database of an earlier shape is rebuilt from a whole journal. Beside a damaged journal it is left alone, and the start
//! is refused: only the program that wrote it can read the changes that the journal lost.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::database::{Older, Unusable, Usable, demand_rebuild, engine_dir, open_engine, rebuild_on_disk};
use super::journal::{Damage, Journal, JournalEntry};
use super::shape::stamp;
use super::state::{State, each_row};
use crate::catalog::engine::memory::MemoryEngine;
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Engine, Table};
use crate::catalog::stored::RowError;
use crate::catalog::{index, row};
use crate::image::{Image, ImageId};

/// Changes in one batch while loading: sled's memory grows with the batch.
const LOAD_BATCH: usize = 128;

/// Largest lag of a database that gets the missing changes; above it a rebuild is faster than changing rows in place.
const BEHIND_MAX: usize = 10_000;

/// Parts of an opened catalogue.
pub(crate) struct Opened {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) journal: Journal,
    pub(crate) state: State,
    /// True if acknowledged changes may be missing.
    pub(crate) lost: bool,
}

/// Tells whether an error means a full disk.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Opens the catalogue in `dir`, or creates it. The caller holds the lock of the data directory.
pub(crate) fn open(dir: &Path, cache_bytes: u64) -> io::Result<Opened> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let database = open_engine(dir, cache_bytes)?;
    let Some(mut journal) = Journal::open(dir)? else {
        return without_journal(dir, database, cache_bytes);
    };
    let (engine, state) = match database {
        Ok(found) => found,
        Err(Unusable::Broken(why)) => return rebuild(dir, journal, cache_bytes, &why, None),
        Err(Unusable::Older(older)) => return reshape(dir, journal, cache_bytes, older),
    };
    let rebuild = |journal, why: &str| rebuild(dir, journal, cache_bytes, why, None);
    let tail = read_tail(&mut journal, state.seq)?;
    let behind = state.seq < tail.last;
    if state.seq < tail.base || tail.ahead.len() > BEHIND_MAX || (behind && tail.damage.base) {
        return rebuild(journal, "it is too far behind the journal");
    }
    if state.seq > tail.last && tail.damage.is_none() {
        return rebuild(journal, "it is ahead of the journal");
    }
    // A database ahead of a damaged journal has the changes that the journal lost.
    let lost = state.seq <= tail.last && (tail.damage.tail_lines > 0 || behind && tail.damage.lines > 0);
    let count = tail.ahead.len();
    let state = match replay(&engine, state, tail.ahead) {
        Ok(state) => state,
        Err(why) => return rebuild(journal, &why),
    };
    if count > 0 {
        log::info!("metadata database brought forward by {count} changes from the journal");
    }
    if state.seq > tail.last || tail.damage.loses() {
        log::warn!("the journal is damaged; writing it anew from the database, which is whole");
        journal = fold(dir, &engine, state)?;
    } else {
        journal.cut()?;
    }
    Ok(Opened { engine: Box::new(engine), journal, state, lost })
}

/// Opens a catalogue without a journal: a new one, or one that lost its journal.
fn without_journal(dir: &Path, database: Result<Usable, Unusable>, cache_bytes: u64) -> io::Result<Opened> {
    match database {
        Ok((engine, state)) => {
            if state.images > 0 {
                log::warn!("the journal is missing; writing it anew from the database: {} images", state.images);
            }
            let journal = fold(dir, &engine, state)?;
            Ok(Opened { engine: Box::new(engine), journal, state, lost: false })
        }
        Err(Unusable::Older(older)) => Err(only_the_older_program(dir, &older, "the catalogue has no journal")),
        Err(Unusable::Broken(why)) if engine_dir(dir).exists() => Err(io::Error::other(format!(
            "the catalogue has no journal, and its database can't be read ({why}): restore {} from a backup",
            dir.display()
        ))),
        Err(Unusable::Broken(_)) => {
            let journal = Journal::begin(dir, 0, 0, std::iter::empty())?;
            let engine = SledEngine::open(&engine_dir(dir), cache_bytes).map_err(io::Error::other)?;
            stamp(&engine).map_err(io::Error::other)?;
            Ok(Opened { engine: Box::new(engine), journal, state: State::default(), lost: false })
        }
    }
}

/// Rebuilds a database of an earlier shape, unless it may have changes that a damaged journal lost.
fn reshape(dir: &Path, mut journal: Journal, cache_bytes: u64, older: Older) -> io::Result<Opened> {
    let tail = read_tail(&mut journal, older.state.seq)?;
    if tail.damage.loses() || (older.state.seq > tail.last && !tail.damage.is_none()) {
        return Err(only_the_older_program(dir, &older, &format!("the journal is damaged ({:?})", tail.damage)));
    }
    let why = older.describe();
    rebuild(dir, journal, cache_bytes, &why, Some(older))
}

/// The refusal to start without changes that only an earlier program can read.
fn only_the_older_program(dir: &Path, older: &Older, what: &str) -> io::Error {
    io::Error::other(format!(
        "{what}, and the database, which is whole, was written by an earlier visor ({}). Nothing was changed. Start the visor that \
         wrote it once: it writes the journal anew from the database. To go on with what the journal has, and lose the rest, move \
         {} away",
        older.describe(),
        engine_dir(dir).display()
    ))
}

/// Changes that the journal has and a database at `seq` lacks.
struct Tail {
    /// Sequence number at the segment's beginning.
    base: u64,
    /// Sequence number at its end.
    last: u64,
    ahead: Vec<(u64, JournalEntry)>,
    damage: Damage,
}

fn read_tail(journal: &mut Journal, seq: u64) -> io::Result<Tail> {
    let mut tail = Tail { base: 0, last: 0, ahead: Vec::new(), damage: Damage::default() };
    tail.damage = journal.replay(|found| {
        tail.last = tail.last.max(found.seq);
        match found.entry {
            JournalEntry::Begin { .. } => tail.base = found.seq,
            change if found.seq > seq && tail.ahead.len() <= BEHIND_MAX => tail.ahead.push((found.seq, change)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(tail)
}

/// Applies changes to an engine.
fn replay(engine: &dyn Engine, start: State, changes: Vec<(u64, JournalEntry)>) -> Result<State, String> {
    let mut state = start;
    for (seq, entry) in changes {
        let before = (state != State::default()).then_some(state);
        let mut batch = Batch::default();
        let (id, new) = match entry {
            JournalEntry::Put(image) => (image.id, Some(with_row(*image).map_err(|error| error.to_string())?)),
            JournalEntry::Delete(id) => (id, None),
            JournalEntry::Begin { .. } => continue,
        };
        let old = stored(engine, id)?;
        apply(&mut state, seq, id, old.as_ref(), new.as_ref(), &mut batch);
        state.advance(before, &mut batch);
        engine.commit(&batch).map_err(|error| error.to_string())?;
    }
    Ok(state)
}

/// Rebuilds the database from the journal, with the counters of reads of an older one. If that fails too (a full disk), the
/// catalogue runs in memory until the next start.
fn rebuild(dir: &Path, mut journal: Journal, cache_bytes: u64, why: &str, older: Option<Older>) -> io::Result<Opened> {
    let fill = |journal: &mut Journal, engine: &dyn Engine, older: Option<&Older>| {
        let filled = into_engine(journal, engine)?;
        older.map_or(Ok(()), |older| older.put_counters_into(engine)).map_err(io::Error::other)?;
        Ok::<_, io::Error>(filled)
    };
    let former = RefCell::new(older);
    let on_disk = rebuild_on_disk(
        dir,
        cache_bytes,
        |engine| fill(&mut journal, engine, former.borrow().as_ref()),
        || drop(former.take()),
    );
    let (engine, state, lost): (Box<dyn Engine>, _, _) = match on_disk {
        Ok((engine, state, lost)) => {
            log::warn!("metadata database rebuilt from the journal ({why}): {} images", state.images);
            (Box::new(engine), state, lost)
        }
        Err(error) => {
            let memory = MemoryEngine::default();
            let (state, lost) = fill(&mut journal, &memory, former.borrow().as_ref())?;
            log::error!(
                "the metadata database can't be rebuilt on disk ({error}); serving {} images from memory",
                state.images
            );
            demand_rebuild(dir).or_else(|error| if is_full(&error) { Ok(()) } else { Err(error) })?;
            (Box::new(memory), state, lost)
        }
    };
    if lost {
        journal = fold(dir, &*engine, state)?;
    } else {
        journal.cut()?;
    }
    Ok(Opened { engine, journal, state, lost })
}

/// Newest line of each existing image, by segment and position, and the totals.
struct Survey {
    newest: HashMap<ImageId, (usize, u64)>,
    last: u64,
    lines: u64,
    /// Damage in each segment.
    damage: Vec<Damage>,
}

fn survey(segments: &mut [&mut Journal]) -> io::Result<Survey> {
    let mut survey = Survey { newest: HashMap::new(), last: 0, lines: 0, damage: Vec::new() };
    for (segment, journal) in segments.iter_mut().enumerate() {
        let mut line = 0u64;
        let damage = journal.replay(|found| {
            line += 1;
            survey.last = survey.last.max(found.seq);
            match found.entry {
                JournalEntry::Put(image) => drop(survey.newest.insert(image.id, (segment, line))),
                JournalEntry::Delete(id) => drop(survey.newest.remove(&id)),
                JournalEntry::Begin { .. } => {}
            }
            Ok(())
        })?;
        survey.lines += line;
        survey.damage.push(damage);
    }
    Ok(survey)
}

/// Fills an empty engine from the journal, in two passes, so that memory holds only ids and line numbers. Returns
/// whether changes may be missing.
///
/// # Errors
/// The journal can't be read, has no good line, or the engine refuses its changes.
pub(crate) fn into_engine(journal: &mut Journal, engine: &dyn Engine) -> io::Result<(State, bool)> {
    let mut found = survey(&mut [&mut *journal])?;
    // The base of the newest segment comes from the segment before.
    let mut older = if found.damage[0].base { Journal::open_older(journal.dir())? } else { None };
    let mut segments: Vec<&mut Journal> = older.iter_mut().chain([journal]).collect();
    if segments.len() > 1 {
        found = survey(&mut segments)?;
    }
    if found.lines == 0 {
        let text = "the journal has not one whole line, and there is no database: restore them from a backup";
        return Err(io::Error::other(text));
    }
    let lost = match &found.damage[..] {
        [older, newest] => older.loses() || newest.lines > 0 || newest.tail_lines > 0,
        damage => damage.iter().any(|damage| damage.loses()),
    };
    if lost {
        log::error!("the journal is damaged ({:?}): changes may be lost", found.damage);
    }
    let (mut state, mut before) = (State::default(), None);
    let (mut batch, mut waiting) = (Batch::default(), 0);
    let mut flush = |state: State, batch: &mut Batch| -> io::Result<()> {
        state.advance(before, batch);
        engine.commit(&std::mem::take(batch)).map_err(io::Error::other)?;
        before = Some(state);
        Ok(())
    };
    for (segment, journal) in segments.into_iter().enumerate() {
        let mut line = 0u64;
        journal.replay(|entry| {
            line += 1;
            let JournalEntry::Put(image) = entry.entry else { return Ok(()) };
            if found.newest.get(&image.id) != Some(&(segment, line)) {
                return Ok(());
            }
            let new = with_row(*image).map_err(io::Error::other)?;
            apply(&mut state, entry.seq, new.0.id, None, Some(&new), &mut batch);
            waiting += 1;
            if waiting % LOAD_BATCH == 0 {
                flush(state, &mut batch)?;
            }
            Ok(())
        })?;
    }
    state.seq = found.last;
    flush(state, &mut batch)?;
    Ok((state, lost))
}

/// Starts a new segment with the images of the engine.
pub(crate) fn fold(dir: &Path, engine: &dyn Engine, state: State) -> io::Result<Journal> {
    // `each_row` pushes and `begin` pulls; a small channel between two threads joins them. Read errors use the channel
    // too, so that `begin` meets them before it makes the segment the newest.
    let (rows, images) = std::sync::mpsc::sync_channel(256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let gone = |_| "the segment can't be written".to_owned();
            if let Err(why) = each_row(engine, |_, image| rows.send(Ok(image)).map_err(gone)) {
                // The receiver is gone: the writer failed first, and its error is the one to return.
                let _ = rows.send(Err(io::Error::other(why)));
            }
        });
        Journal::begin(dir, state.seq, state.images, images.into_iter())
    })
}

/// An image with its encoded row.
pub(crate) fn with_row(image: Image) -> Result<(Image, Vec<u8>), RowError> {
    row::encode(&image).map(|row| (image, row))
}

/// Decodes an image and its row as an engine has them; returns the damage otherwise.
pub(crate) fn stored(engine: &dyn Engine, id: ImageId) -> Result<Option<(Image, Vec<u8>)>, String> {
    let row = engine.get(Table::Image, id.as_bytes()).map_err(|error| error.to_string())?;
    row.map(|row| row::decode(&row).map(|image| (image, row)).map_err(|error| error.to_string())).transpose()
}

/// Adds a change of one image to a batch: row, index entries, counters, state.
pub(crate) fn apply(
    state: &mut State,
    seq: u64,
    id: ImageId,
    old: Option<&(Image, Vec<u8>)>,
    new: Option<&(Image, Vec<u8>)>,
    batch: &mut Batch,
) {
    index::update(batch, old.map(|(image, _)| image), new.map(|(image, _)| image));
    match new {
        Some((_, row)) => batch.put(Table::Image, *id.as_bytes(), row.as_slice()),
        None => {
            batch.delete(Table::Image, *id.as_bytes());
            batch.delete(Table::Access, *id.as_bytes());
        }
    }
    state.exchange(old.map(|(_, row)| row.as_slice()), new.map(|(_, row)| row.as_slice()));
    state.seq = seq;
}
