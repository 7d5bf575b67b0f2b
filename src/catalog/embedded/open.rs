//! Opening a catalogue: which of the two copies is good, and how the other is brought to the same state.
//!
//! The journal is the truth. A database that is behind gets the missing changes; one that is missing, damaged, or
//! ahead of a sound journal is rebuilt. A journal that lost something which a sound database still has is written
//! anew from that. Each of these says so in one log line.
//!
//! A database of an earlier shape is rebuilt from a journal that is whole. Beside a damaged one it is left alone, and the start
//! refused: only the program that wrote it can read what the journal lost.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::database::{Older, Unusable, Usable, demand_rebuild, engine_dir, open_engine, rebuild_on_disk};
use super::journal::{Damage, Entry, Journal};
use super::shape::stamp;
use super::state::{State, each_row};
use crate::catalog::engine::memory::MemoryEngine;
use crate::catalog::engine::sled::SledEngine;
use crate::catalog::engine::{Batch, Engine, Table};
use crate::catalog::stored::RowError;
use crate::catalog::{index, row};
use crate::image::{Image, ImageId};

/// So many changes go into one batch while loading: sled's memory grows with the batch.
const LOAD_BATCH: usize = 128;

/// A database further behind than this is rebuilt: that is faster than changing every row in place.
const BEHIND_MAX: usize = 10_000;

/// An opened catalogue's parts.
pub(crate) struct Opened {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) journal: Journal,
    pub(crate) state: State,
    /// Whether changes may be missing that were acknowledged.
    pub(crate) lost: bool,
}

/// Whether an error means that there is no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Opens the catalogue in `dir`, makes it if there is none. The caller holds the lock of the data directory.
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
    // A database that is ahead of a damaged journal has what that lost.
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

/// Opens a catalogue without a journal: a new one, or one whose journal was lost.
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

/// Makes the database of an earlier shape anew, unless it may have what a damaged journal lost.
fn reshape(dir: &Path, mut journal: Journal, cache_bytes: u64, older: Older) -> io::Result<Opened> {
    let tail = read_tail(&mut journal, older.state.seq)?;
    if tail.damage.loses() || (older.state.seq > tail.last && !tail.damage.is_none()) {
        return Err(only_the_older_program(dir, &older, &format!("the journal is damaged ({:?})", tail.damage)));
    }
    let why = older.describe();
    rebuild(dir, journal, cache_bytes, &why, Some(older))
}

/// The refusal to go on without what only the program can read that wrote the database.
fn only_the_older_program(dir: &Path, older: &Older, what: &str) -> io::Error {
    io::Error::other(format!(
        "{what}, and the database, which is whole, was written by an earlier visor ({}). Nothing was changed. Start the visor that \
         wrote it once: it writes the journal anew from the database. To go on with what the journal has, and lose the rest, move \
         {} away",
        older.describe(),
        engine_dir(dir).display()
    ))
}

/// What the journal has that a database at `seq` has not.
struct Tail {
    /// Where the segment begins.
    base: u64,
    /// Where it ends.
    last: u64,
    ahead: Vec<(u64, Entry)>,
    damage: Damage,
}

fn read_tail(journal: &mut Journal, seq: u64) -> io::Result<Tail> {
    let mut tail = Tail { base: 0, last: 0, ahead: Vec::new(), damage: Damage::default() };
    tail.damage = journal.replay(|found| {
        tail.last = tail.last.max(found.seq);
        match found.entry {
            Entry::Begin { .. } => tail.base = found.seq,
            change if found.seq > seq && tail.ahead.len() <= BEHIND_MAX => tail.ahead.push((found.seq, change)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(tail)
}

/// Applies changes to an engine.
fn replay(engine: &dyn Engine, start: State, changes: Vec<(u64, Entry)>) -> Result<State, String> {
    let mut state = start;
    for (seq, entry) in changes {
        let before = (state != State::default()).then_some(state);
        let mut batch = Batch::default();
        let (id, new) = match entry {
            Entry::Put(image) => (image.id, Some(with_row(*image).map_err(|error| error.to_string())?)),
            Entry::Delete(id) => (id, None),
            Entry::Begin { .. } => continue,
        };
        let old = stored(engine, id)?;
        apply(&mut state, seq, id, old.as_ref(), new.as_ref(), &mut batch);
        state.advance(before, &mut batch);
        engine.commit(&batch).map_err(|error| error.to_string())?;
    }
    Ok(state)
}

/// Makes the database anew out of the journal, with the counters of reads of an older one. If even that fails (a full disk), memory
/// has to do for this run.
fn rebuild(
    dir: &Path,
    mut journal: Journal,
    cache_bytes: u64,
    why: &str,
    mut older: Option<Older>,
) -> io::Result<Opened> {
    let mut fill = |journal: &mut Journal, engine: &dyn Engine| {
        let filled = into_engine(journal, engine)?;
        // It is closed behind this: its directory makes room for the new one.
        older.take().map_or(Ok(()), |older| older.put_counters_into(engine)).map_err(io::Error::other)?;
        Ok::<_, io::Error>(filled)
    };
    let on_disk = rebuild_on_disk(dir, cache_bytes, |engine| fill(&mut journal, engine));
    let (engine, state, lost): (Box<dyn Engine>, _, _) = match on_disk {
        Ok((engine, state, lost)) => {
            log::warn!("metadata database rebuilt from the journal ({why}): {} images", state.images);
            (Box::new(engine), state, lost)
        }
        Err(error) => {
            let memory = MemoryEngine::default();
            let (state, lost) = fill(&mut journal, &memory)?;
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

/// The newest line of each image that is there, by segment and position; and what is to be known of the whole.
struct Survey {
    newest: HashMap<ImageId, (usize, u64)>,
    last: u64,
    lines: u64,
    /// Of each segment.
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
                Entry::Put(image) => drop(survey.newest.insert(image.id, (segment, line))),
                Entry::Delete(id) => drop(survey.newest.remove(&id)),
                Entry::Begin { .. } => {}
            }
            Ok(())
        })?;
        survey.lines += line;
        survey.damage.push(damage);
    }
    Ok(survey)
}

/// Fills an empty engine from the journal: two passes, so that only ids and line numbers are held in memory. Says
/// whether changes may be missing.
///
/// # Errors
/// The journal can't be read, has not one good line, or the engine does not take what it says.
pub(crate) fn into_engine(journal: &mut Journal, engine: &dyn Engine) -> io::Result<(State, bool)> {
    let mut found = survey(&mut [&mut *journal])?;
    // What the newest segment should begin with came out of the one before.
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
            let Entry::Put(image) = entry.entry else { return Ok(()) };
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

/// Starts a new segment with what the engine holds.
pub(crate) fn fold(dir: &Path, engine: &dyn Engine, state: State) -> io::Result<Journal> {
    // `each_row` pushes and `begin` pulls; a small channel between two threads joins them. Reading errors go the same
    // way, so that `begin` meets them before it makes the segment the newest.
    let (rows, images) = std::sync::mpsc::sync_channel(256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let gone = |_| "the segment can't be written".to_owned();
            if let Err(why) = each_row(engine, |_, image| rows.send(Ok(image)).map_err(gone)) {
                // Nobody listens: the writer failed first, and its error is the one to tell.
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

/// The image and its row as an engine has them; or what is wrong with it.
pub(crate) fn stored(engine: &dyn Engine, id: ImageId) -> Result<Option<(Image, Vec<u8>)>, String> {
    let row = engine.get(Table::Image, id.as_bytes()).map_err(|error| error.to_string())?;
    row.map(|row| row::decode(&row).map(|image| (image, row)).map_err(|error| error.to_string())).transpose()
}

/// Adds to a batch everything that a change of one image means: row, index entries, counters, state.
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
