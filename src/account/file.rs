//! A table in a file of its own that several processes read and change: a running server, and commands beside it.
//!
//! The file is replaced, never written in place, and read again when it is another than before. Every request asks for
//! the table, so one look at the file is good for a moment; changes of this process are seen at once. Only its owner may
//! read the file. Knows nothing of what stands in the table.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Time for which a look at the file is good.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits until every running server knows the changes that other processes made before.
pub fn wait_for_servers() {
    std::thread::sleep(LOOK_EVERY);
}

/// Mark of a state of the file: it is replaced, never written in place, so its inode changes.
/// `None`: there is no file.
type Stamp = Option<(u64, i64, i64, u64)>;

/// A table in a file. A missing file is the table's default.
#[derive(Debug)]
pub(super) struct Shared<T> {
    dir: PathBuf,
    /// The file's name, without `.json`.
    name: &'static str,
    cached: RwLock<Option<Cached<T>>>,
}

#[derive(Debug)]
struct Cached<T> {
    stamp: Stamp,
    table: Arc<T>,
    /// Time of the last look at the file; `None` after a change of this process.
    looked: Option<Instant>,
}

impl<T> Cached<T> {
    fn is_fresh(&self) -> bool {
        self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY)
    }
}

impl<T: Default + Serialize + DeserializeOwned> Shared<T> {
    /// The table kept under a name in `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// `Internal` when the directory or the file can't be used, or others may read the file; so it is with every method.
    pub(super) fn open(dir: &Path, name: &'static str) -> Result<Self> {
        let shared = Self { dir: dir.to_owned(), name, cached: RwLock::default() };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| shared.unreadable(&e))?;
        shared.read(|_, _| {})?;
        Ok(shared)
    }

    fn unreadable(&self, error: &dyn std::fmt::Display) -> Error {
        Error::internal(format!("the {} can't be read: {error}", self.name))
    }

    fn path(&self) -> PathBuf {
        self.dir.join(format!("{}.json", self.name))
    }

    /// An unreadable file must not count as missing: without accounts every caller is an administrator.
    fn stamp(&self) -> Result<Stamp> {
        match std::fs::metadata(self.path()) {
            Ok(m) => Ok(Some((m.ino(), m.mtime(), m.mtime_nsec(), m.len()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// The table, read again if the file is another than before; `changed` is then told what it was and what it is.
    pub(super) fn read(&self, changed: impl FnOnce(&T, &T)) -> Result<Arc<T>> {
        if let Some(cached) = &*self.cached.read().unwrap_or_else(PoisonError::into_inner)
            && cached.is_fresh()
        {
            return Ok(Arc::clone(&cached.table));
        }
        // Looking under the lock keeps a look from before a change of this process from counting after it.
        let mut cached = self.cached.write().unwrap_or_else(PoisonError::into_inner);
        let (looked, stamp) = (Some(Instant::now()), self.stamp()?);
        if let Some(cached) = cached.as_mut().filter(|cached| cached.stamp == stamp) {
            cached.looked = looked;
            return Ok(Arc::clone(&cached.table));
        }
        let table = Arc::new(self.load()?);
        let before = cached.replace(Cached { stamp, table: Arc::clone(&table), looked });
        drop(cached);
        if let Some(before) = before {
            changed(&before.table, &table);
        }
        Ok(table)
    }

    /// Reads, changes and replaces the file, alone among all processes. Waits for the disk.
    ///
    /// # Errors
    /// Those of `change`; then nothing has changed.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        let path = self.dir.join(format!("{}.lock", self.name));
        let lock = File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
        let lock = lock.map_err(|e| self.unreadable(&e))?;
        lock.lock().map_err(|e| self.unreadable(&e))?;
        let mut table = self.load()?;
        let outcome = change(&mut table)?;
        let replaced = self.replace(&table);
        if let Some(cached) = &mut *self.cached.write().unwrap_or_else(PoisonError::into_inner) {
            cached.looked = None;
        }
        replaced.map_err(|e| self.unreadable(&e))?;
        Ok(outcome)
    }

    fn load(&self) -> Result<T> {
        let path = self.path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(T::default()),
            Err(error) => return Err(self.unreadable(&error)),
        };
        let mode = std::fs::metadata(&path).map_err(|e| self.unreadable(&e))?.mode();
        if mode & 0o077 != 0 {
            let text = format!("others may read {}; run chmod 600 on it", path.display());
            return Err(self.unreadable(&text));
        }
        serde_json::from_str(&text).map_err(|e| self.unreadable(&e))
    }

    fn replace(&self, table: &T) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(&format!(".{}", self.name)).tempfile_in(&self.dir)?;
        serde_json::to_writer_pretty(&mut file, table)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(self.path())?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(dir: &Path) -> Result<Shared<Vec<u32>>> {
        Shared::open(dir, "numbers")
    }

    fn push(shared: &Shared<Vec<u32>>, number: u32) {
        shared
            .change(|numbers| {
                numbers.push(number);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_another_process_changes_is_seen_when_its_command_ends() {
        let dir = tempfile::tempdir().unwrap();
        let (server, other) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
        for n in 0..5 {
            server.read(|_, _| {}).unwrap();
            push(&other, n);
            wait_for_servers();
            let mut told = None;
            assert_eq!(server.read(|was, is| told = Some((was.len(), is.len()))).unwrap().last(), Some(&n));
            assert_eq!(told, Some((n as usize, n as usize + 1)));
        }
        server.read(|_, _| panic!("nothing has changed")).unwrap();
    }

    #[test]
    fn what_this_process_changes_is_seen_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let server = open(dir.path()).unwrap();
        for n in 0..20 {
            push(&server, n);
            assert_eq!(server.read(|_, _| {}).unwrap().last(), Some(&n));
        }
    }

    #[test]
    fn changes_of_several_at_once_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let dir = dir.path();
                scope.spawn(move || push(&open(dir).unwrap(), n));
            }
        });
        assert_eq!(open(dir.path()).unwrap().read(|_, _| {}).unwrap().len(), 8);
    }

    #[test]
    fn what_is_refused_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let shared = open(dir.path()).unwrap();
        push(&shared, 1);
        let refused: Result<()> = shared.change(|numbers| {
            numbers.clear();
            Err(Error::invalid("no"))
        });
        assert!(refused.is_err() && *shared.read(|_, _| {}).unwrap() == [1]);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let shared = open(dir.path()).unwrap();
        push(&shared, 1);
        let mode = std::fs::metadata(shared.path()).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        std::fs::set_permissions(shared.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(dir.path()).is_err());
    }
}
