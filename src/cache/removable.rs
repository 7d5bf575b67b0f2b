//! Candidates for removal: what may go, in which order, why, and what is gained by it. Nothing that is pinned, locked, in use, or young
//! goes.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::{KeySlot, Knowledge};
use super::entry::Entry;
use super::key::Key;
use super::shelf::Shelved;
use super::superseded::{FileOnDisk, Pruned, Stock, SupersededBuild};

const MINUTE_US: i64 = 60 * 1_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// Time for which nothing new goes.
const YOUNG_US: i64 = 10 * MINUTE_US;

/// Time after which bytes in quarantine go first.
const QUARANTINE_US: i64 = 7 * DAY_US;

/// A file that may go.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Quarantined(String),
    Partial(Key),
    Build(SupersededBuild),
    Entry(Key),
}

impl Target {
    /// Reason in a word, for counters.
    pub(super) fn why(&self) -> &'static str {
        match self {
            Self::Quarantined(_) => "quarantine",
            Self::Partial(_) => "partial",
            Self::Build(_) => "superseded",
            Self::Entry(_) => "unused",
        }
    }
}

/// A file that may go, and what is gained by it.
#[derive(Debug, Clone)]
pub(super) struct Removable {
    pub(super) target: Target,
    pub(super) pruned: Pruned,
    pub(super) gain: Space,
    /// True if it is time for it, whatever room there is.
    pub(super) overdue: bool,
    /// File of the cache that may be an image's too, in which case the disk gains nothing by its removal.
    pub(super) file: Option<PathBuf>,
    /// Bytes that builds have less in the budget without it; less than zero if one keeps the file of an entry that goes.
    pub(super) of_builds: i64,
}

/// Room by its two measures. An adopted file is in the budget, and the disk gains nothing when the cache lets go of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Space {
    /// Bytes of the budget.
    pub(super) budget: u64,
    /// Bytes of the disk.
    pub(super) disk: u64,
}

impl Space {
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { budget: self.budget.saturating_add(other.budget), disk: self.disk.saturating_add(other.disk) }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self { budget: self.budget.saturating_sub(other.budget), disk: self.disk.saturating_sub(other.disk) }
    }

    /// Tells if this makes some of what is needed.
    pub(super) fn helps(self, needed: Self) -> bool {
        (self.budget > 0 && needed.budget > 0) || (self.disk > 0 && needed.disk > 0)
    }

    pub(super) fn largest(self) -> u64 {
        self.budget.max(self.disk)
    }
}

/// Files that may go, in the order in which they go.
pub(super) fn listed(index: &Knowledge, stock: &Stock, now: i64) -> Vec<Removable> {
    let (mut all, young) = quarantined(index, now);
    all.extend(index.slots.iter().filter_map(|(key, slot)| stopped(key, slot, now)));
    let mut with_builds = HashSet::new();
    all.extend(stock.builds.iter().map(|build| superseded(index, build, &mut with_builds)));
    all.extend(young);
    let needed = documents_needed(index, stock);
    let may_go = |slot: &KeySlot| slot.held.as_ref().is_some_and(|held| !is_needed(held, &needed, stock));
    let idle = index.slots.iter().filter(|(key, slot)| may_go(slot) && !with_builds.contains(*key));
    let mut unused: Vec<_> = idle.filter_map(|(key, slot)| unused(key, slot, now)).collect();
    unused.sort_by_key(|(used_at, _)| *used_at);
    all.extend(unused.into_iter().map(|(_, candidate)| candidate));
    all
}

/// Tells if an entry is neither read nor pinned. A second holder reads it, or has its path.
pub(super) fn is_idle(held: &Arc<Shelved>) -> bool {
    Arc::strong_count(held) == 1 && !held.see(|entry| entry.pinned)
}

/// A transfer that stopped long ago.
fn stopped(key: &Key, slot: &KeySlot, now: i64) -> Option<Removable> {
    let sidecar = slot.partial.as_ref().filter(|sidecar| now - sidecar.written_at > DAY_US)?;
    let reason = "a transfer that made no progress for a day".to_owned();
    let pruned = Pruned { what: key.shown().to_owned(), bytes: sidecar.bytes(), reason };
    Some(Removable::of(Target::Partial(key.clone()), pruned, true))
}

/// A build that may go, with the file that it was made of, unless that is among those that go `with_builds` already.
fn superseded(index: &Knowledge, build: &SupersededBuild, with_builds: &mut HashSet<Key>) -> Removable {
    let held = Key::parse(&build.url).ok().and_then(|key| {
        let held = index.slots.get(&key)?.held.as_ref().filter(|held| is_idle(held))?;
        with_builds.insert(key).then_some(held)
    });
    let pruned =
        Pruned { what: build.what.clone(), bytes: held.map_or(0, |held| held.size()), reason: build.reason.clone() };
    Removable { file: held.map(|held| held.path()), ..Removable::of(Target::Build(build.clone()), pruned, false) }
}

/// Documents that verify an image, or a file of the cache.
fn documents_needed(index: &Knowledge, stock: &Stock) -> HashSet<String> {
    let held = index.slots.values().filter_map(|slot| slot.held.as_ref());
    let documents = |entry: &Entry| (!entry.document).then(|| entry.evidence.documents.clone());
    let files = held.filter_map(|held| held.see(documents)).flatten();
    let urls = stock.documents.iter().cloned().chain(files);
    urls.filter_map(|url| Key::parse(&url).ok().map(|key| key.url().to_owned())).collect()
}

/// Tells if an entry verifies something that is here, or is in a lock file.
fn is_needed(held: &Shelved, documents: &HashSet<String>, stock: &Stock) -> bool {
    held.see(|entry| {
        (entry.document && documents.contains(&entry.key)) || entry.sums.iter().any(|sum| stock.locked.contains(sum))
    })
}

/// Finds out what is gained by each, if those before it go too: a file leaves the budget with the last of the cache's names and the
/// builds' names, and the disk with its last name at all. What is on another disk than `dir` is no matter of the budget. `held` are
/// the files of all entries. Returns also the bytes that builds add to the budget. Blocking.
pub(super) fn weighed(mut all: Vec<Removable>, held: &[PathBuf], dir: &Path) -> (Vec<Removable>, u64) {
    let disk = FileOnDisk::at(dir).ok().map(|dir| dir.device);
    let is_near = |file: &FileOnDisk| Some(file.device) == disk;
    let mut names = Names::default();
    for file in held.iter().filter_map(|path| FileOnDisk::at(path).ok()) {
        names.add(&file);
    }
    let builds_of = |candidate: &Removable| match &candidate.target {
        Target::Build(build) => build.files.iter().filter(|file| is_near(file)).copied().collect(),
        _ => Vec::new(),
    };
    let builds: u64 = all.iter().flat_map(builds_of).filter(|file| names.add(file)).map(|file| file.bytes).sum();
    for candidate in &mut all {
        let entry = candidate.file.as_deref().and_then(|path| FileOnDisk::at(path).ok());
        let files: Vec<_> = builds_of(candidate).into_iter().chain(entry).collect();
        if !files.is_empty() {
            candidate.gain = files.iter().fold(Space::default(), |gain, file| gain.plus(names.take(file)));
        }
        // Without its entry, a file that is a build's too is the build's.
        candidate.of_builds = candidate.gain.budget.cast_signed() - entry.map_or(0, |entry| entry.bytes.cast_signed());
        candidate.pruned.bytes = candidate.gain.disk;
    }
    (all, builds)
}

/// Names of files: all that the disk has for one, and those of the cache and of builds.
#[derive(Default)]
struct Names(HashMap<(u64, u64), (u64, u64)>);

impl Names {
    /// Counts a name; true for the first of its file.
    fn add(&mut self, file: &FileOnDisk) -> bool {
        let (_, own) = self.0.entry((file.device, file.inode)).or_insert((file.names, 0));
        *own += 1;
        *own == 1
    }

    /// Takes a name away, and says what is gained by that.
    fn take(&mut self, file: &FileOnDisk) -> Space {
        let Some((all, own)) = self.0.get_mut(&(file.device, file.inode)) else { return Space::default() };
        (*all, *own) = (all.saturating_sub(1), own.saturating_sub(1));
        let gained = |left: u64| if left == 0 { file.bytes } else { 0 };
        Space { budget: gained(*own), disk: gained(*all) }
    }
}

impl FileOnDisk {
    /// The file under a path. Blocking.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn at(path: &Path) -> std::io::Result<Self> {
        std::fs::metadata(path).map(|file| Self::of(&file))
    }

    /// A file by what its disk says of it.
    pub fn of(file: &std::fs::Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), names: file.nlink(), bytes: file.len() }
    }
}

impl Removable {
    fn of(target: Target, pruned: Pruned, overdue: bool) -> Self {
        let gain = Space { budget: pruned.bytes, disk: pruned.bytes };
        Self { target, pruned, gain, overdue, file: None, of_builds: 0 }
    }
}

/// Bytes in quarantine: those whose time is over, and the others, which go when there is need.
fn quarantined(index: &Knowledge, now: i64) -> (Vec<Removable>, Vec<Removable>) {
    let all = index.suspects.iter().map(|(sha256, suspect)| {
        let reason = "in quarantine: the bytes are not those that their checksums name".to_owned();
        let what = suspect.entry.key().map_or_else(|_| sha256.clone(), |key| key.shown().to_owned());
        let overdue = now - suspect.put_at > QUARANTINE_US;
        let pruned = Pruned { what, bytes: suspect.entry.size, reason };
        Removable::of(Target::Quarantined(sha256.clone()), pruned, overdue)
    });
    all.partition(|candidate| candidate.overdue)
}

/// An entry that may go, by its last use.
fn unused(key: &Key, slot: &KeySlot, now: i64) -> Option<(i64, Removable)> {
    let held = slot.held.as_ref().filter(|held| is_idle(held))?;
    let (fetched_at, used_at) = held.see(|entry| (entry.fetched_at, entry.used_at));
    if now - fetched_at < YOUNG_US || now - used_at < YOUNG_US {
        return None;
    }
    let days = (now - used_at) / DAY_US;
    let reason = match days {
        0 => "not used today for the longest time".to_owned(),
        1 => "not used for a day".to_owned(),
        days => format!("not used for {days} days"),
    };
    let pruned = Pruned { what: key.shown().to_owned(), bytes: held.size(), reason };
    let candidate = Removable::of(Target::Entry(key.clone()), pruned, false);
    Some((used_at, Removable { file: Some(held.path()), ..candidate }))
}
