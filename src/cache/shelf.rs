//! The directory: names, atomic replacement, and what of it can be trusted at the start. Blocking; knows no network.
//!
//! `partial/<id>` grows beside its sidecar. When its bytes are complete, verified and durable, `entries/<id>.json` is written, and then they
//! move to `files/<id>`. Anything else that is found at the start is from a process that died, and goes.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::entry::{Entry, Sidecar, Suspect};
use crate::image::Timestamp;

const FILES: &str = "files";
const PARTIAL: &str = "partial";
const ENTRIES: &str = "entries";
const QUARANTINE: &str = "quarantine";

/// Time after which a transfer without progress is not gone on with.
const PARTIAL_AGE_MAX_US: i64 = 24 * 3600 * 1_000_000;

/// Largest file of JSON that is read.
const JSON_BYTES_MAX: u64 = 1 << 20;

/// The directory of the cache.
#[derive(Debug)]
pub(super) struct Shelf {
    dir: PathBuf,
    /// Run of the machine, where it says so.
    boot: Option<String>,
}

/// Content of the directory at the start.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) entries: Vec<Entry>,
    pub(super) partials: Vec<Sidecar>,
    pub(super) suspects: Vec<Suspect>,
}

/// An entry in memory. Its file stays until the last holder is gone.
#[derive(Debug)]
pub(super) struct Shelved {
    shelf: Arc<Shelf>,
    id: String,
    size: u64,
    entry: Mutex<Entry>,
    /// True when the entry was replaced or dropped: its file goes with the last holder.
    doomed: AtomicBool,
}

impl Shelved {
    pub(super) fn new(shelf: &Arc<Shelf>, entry: Entry) -> Arc<Self> {
        let (shelf, id, size) = (Arc::clone(shelf), entry.id.clone(), entry.size);
        Arc::new(Self { shelf, id, size, entry: Mutex::new(entry), doomed: AtomicBool::new(false) })
    }

    /// A copy of the entry as it is now.
    pub(super) fn entry(&self) -> Entry {
        self.see(Entry::clone)
    }

    /// Looks at the entry as it is now, without a copy.
    pub(super) fn see<T>(&self, look: impl FnOnce(&Entry) -> T) -> T {
        look(&self.entry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Size in bytes, which never changes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Changes the entry and writes it down.
    pub(super) fn change(&self, change: impl FnOnce(&mut Entry)) -> io::Result<()> {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entry);
        match self.doomed.load(Ordering::SeqCst) {
            true => Ok(()),
            false => self.shelf.write_entry(&entry),
        }
    }

    /// The file of the bytes.
    pub(super) fn path(&self) -> PathBuf {
        self.shelf.file(&self.id)
    }

    /// Takes the entry out of the directory; its file follows when no holder is left.
    pub(super) fn doom(&self) -> io::Result<()> {
        // Under the lock, so that no change writes the entry again afterwards.
        let _entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        self.doomed.store(true, Ordering::SeqCst);
        self.shelf.remove(&self.shelf.json(ENTRIES, &self.id))
    }
}

impl Drop for Shelved {
    fn drop(&mut self) {
        if self.doomed.load(Ordering::SeqCst)
            && let Err(error) = self.shelf.remove(&self.path())
        {
            log::warn!("a file of the cache can't be removed: {:?}: {error}", self.path());
        }
    }
}

impl Shelf {
    /// Opens the directory, which is made if there is none.
    pub(super) fn open(dir: &Path) -> io::Result<Arc<Self>> {
        for name in [FILES, PARTIAL, ENTRIES, QUARANTINE] {
            fs::create_dir_all(dir.join(name))?;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned());
        Ok(Arc::new(Self { dir: dir.to_owned(), boot }))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Run of the machine: what was written in it is there as long as it lasts.
    pub(super) fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    pub(super) fn new_id() -> String {
        Uuid::new_v4().simple().to_string()
    }

    /// File of a whole content.
    pub(super) fn file(&self, id: &str) -> PathBuf {
        self.dir.join(FILES).join(id)
    }

    /// File of a transfer.
    pub(super) fn partial(&self, id: &str) -> PathBuf {
        self.dir.join(PARTIAL).join(id)
    }

    /// File of bytes that were not the expected ones.
    pub(super) fn quarantined(&self, sha256: &str) -> PathBuf {
        self.dir.join(QUARANTINE).join(sha256)
    }

    fn json(&self, room: &str, name: &str) -> PathBuf {
        self.dir.join(room).join(format!("{name}.json"))
    }

    /// Makes the file of a new transfer, or opens that of an earlier one.
    pub(super) fn open_partial(&self, id: &str, is_new: bool) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create_new(is_new).open(self.partial(id))
    }

    pub(super) fn write_entry(&self, entry: &Entry) -> io::Result<()> {
        replace(&self.json(ENTRIES, &entry.id), entry)
    }

    pub(super) fn write_sidecar(&self, sidecar: &Sidecar) -> io::Result<()> {
        replace(&self.json(PARTIAL, &sidecar.id), sidecar)
    }

    /// As [`Shelf::write_sidecar`], for what a machine that dies may lose: nothing waits for the disk.
    pub(super) fn note_sidecar(&self, sidecar: &Sidecar) -> io::Result<()> {
        let path = self.json(PARTIAL, &sidecar.id);
        let aside = path.with_extension("json.new");
        fs::write(&aside, serde_json::to_vec(sidecar)?)?;
        fs::rename(&aside, &path)
    }

    /// Makes a whole transfer an entry. Its bytes are complete and verified.
    pub(super) fn publish(&self, file: &File, entry: &Entry) -> io::Result<()> {
        file.sync_all()?;
        self.install(&self.partial(&entry.id), entry)?;
        self.remove(&self.json(PARTIAL, &entry.id))
    }

    /// Puts the bytes of a whole transfer away.
    pub(super) fn put_away(&self, file: &File, sha256: &str, suspect: &Suspect) -> io::Result<()> {
        file.sync_all()?;
        replace(&self.json(QUARANTINE, sha256), suspect)?;
        fs::rename(self.partial(&suspect.entry.id), self.quarantined(sha256))?;
        sync(&self.dir.join(QUARANTINE))?;
        self.remove(&self.json(PARTIAL, &suspect.entry.id))
    }

    /// Makes an entry of bytes that were put away.
    pub(super) fn adopt(&self, sha256: &str, entry: &Entry) -> io::Result<()> {
        self.install(&self.quarantined(sha256), entry)?;
        self.remove(&self.json(QUARANTINE, sha256))
    }

    /// Moves a file to the place of its entry, which is written first: of a process that dies between the two, an entry without a file is
    /// dropped, and the file stays what it was.
    fn install(&self, from: &Path, entry: &Entry) -> io::Result<()> {
        let installed = self
            .write_entry(entry)
            .and_then(|()| fs::rename(from, self.file(&entry.id)))
            .and_then(|()| sync(&self.dir.join(FILES)));
        if installed.is_err() {
            // A full disk must not keep what nothing names.
            self.remove(&self.json(ENTRIES, &entry.id))?;
            self.remove(&self.file(&entry.id))?;
        }
        installed
    }

    /// Removes bytes that were put away.
    pub(super) fn remove_suspect(&self, sha256: &str) -> io::Result<()> {
        self.remove(&self.json(QUARANTINE, sha256))?;
        self.remove(&self.quarantined(sha256))
    }

    /// Removes a transfer.
    pub(super) fn remove_partial(&self, id: &str) -> io::Result<()> {
        self.remove(&self.json(PARTIAL, id))?;
        self.remove(&self.partial(id))
    }

    /// Removes a file; one that is not there is removed already.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads what is there, and removes what does not fit together.
    pub(super) fn scan(&self, now: Timestamp) -> io::Result<Scan> {
        let mut scan = Scan::default();
        let length = |path: &Path| fs::metadata(path).ok().filter(fs::Metadata::is_file).map(|file| file.len());
        self.read(ENTRIES, |name, entry: Entry| {
            let fits = entry.id == name && entry.key().is_ok() && length(&self.file(name)) == Some(entry.size);
            if fits {
                scan.entries.push(entry);
            }
            fits
        })?;
        let whole: BTreeSet<String> = scan.entries.iter().map(|entry| entry.id.clone()).collect();
        self.read(PARTIAL, |name, sidecar: Sidecar| {
            let is_young = now.0.saturating_sub(sidecar.written_at) < PARTIAL_AGE_MAX_US;
            let is_open = !whole.contains(name) && length(&self.partial(name)).is_some();
            let fits = sidecar.id == name && is_young && is_open;
            if fits {
                scan.partials.push(sidecar);
            }
            fits
        })?;
        self.read(QUARANTINE, |name, suspect: Suspect| {
            let fits = length(&self.quarantined(name)) == Some(suspect.entry.size);
            if fits {
                scan.suspects.push(suspect);
            }
            fits
        })?;
        self.sweep(FILES, |name| whole.contains(name))?;
        let kept: BTreeSet<&str> = scan.partials.iter().map(|sidecar| sidecar.id.as_str()).collect();
        self.sweep(PARTIAL, |name| name.ends_with(".json") || kept.contains(name))?;
        self.sweep(QUARANTINE, |name| self.json(QUARANTINE, name.trim_end_matches(".json")).exists())?;
        Ok(scan)
    }

    /// Reads the files of JSON of a room, and removes those that are not `kept`.
    fn read<T: DeserializeOwned>(&self, room: &str, mut kept: impl FnMut(&str, T) -> bool) -> io::Result<()> {
        for name in names(&self.dir.join(room))? {
            let path = self.dir.join(room).join(&name);
            if name.ends_with(".json.new") {
                self.remove(&path)?;
            }
            let Some(stem) = name.strip_suffix(".json") else { continue };
            let is_small = fs::metadata(&path).is_ok_and(|file| file.len() <= JSON_BYTES_MAX);
            let read = is_small.then(|| fs::read(&path).ok()).flatten();
            if !read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).is_some_and(|value| kept(stem, value)) {
                log::info!("the cache drops {room}/{name}: it does not fit its file, or is too old");
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    fn sweep(&self, room: &str, kept: impl Fn(&str) -> bool) -> io::Result<()> {
        for name in names(&self.dir.join(room))?.iter().filter(|name| !kept(name)) {
            self.remove(&self.dir.join(room).join(name))?;
        }
        Ok(())
    }
}

fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names: io::Result<Vec<_>> = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect();
    Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Replaces a file of JSON in one step, durably.
fn replace(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let aside = path.with_extension("json.new");
    let mut file = File::create(&aside)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    path.parent().map_or(Ok(()), sync)
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
