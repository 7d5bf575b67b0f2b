//! The data directory: made, checked and locked, so that two servers never share one.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time to wait for a process that is just ending: a supervisor starts the next one at once.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// A data directory that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes a data directory, makes it if it is missing.
    ///
    /// # Errors
    /// `WouldBlock` when another process has it; otherwise whatever the system says. The text names the directory.
    pub fn take(path: &Path) -> io::Result<Self> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match Self::try_take(path)? {
                Some(taken) => return Ok(taken),
                None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                None => {
                    let text = format!("{} is in use by another visor; stop it first", path.display());
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
            }
        }
    }

    /// Takes a data directory as [`DataDir::take`] does, without waiting; `None` when another process has it.
    ///
    /// # Errors
    /// As the system says; the text names the directory.
    pub fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(named)?;
        let lock = File::options().append(true).create(true).mode(0o600).open(path.join("lock")).map_err(named)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path: path.to_owned(), _lock: lock })),
            Err(TryLockError::Error(error)) => Err(named(error)),
            Err(TryLockError::WouldBlock) => Ok(None),
        }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The catalogue's directory in a data directory.
    pub fn catalog(path: &Path) -> PathBuf {
        path.join("catalog")
    }

    /// The directory of the cache of vendors' files in a data directory.
    pub fn cache(path: &Path) -> PathBuf {
        path.join("cache")
    }

    /// The directory of accounts and other secrets in a data directory.
    pub fn keys(path: &Path) -> PathBuf {
        path.join("keys")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::take(dir.path()).unwrap();
        assert_eq!(DataDir::take(dir.path()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        DataDir::take(dir.path()).unwrap();
    }

    #[test]
    fn what_can_not_be_a_directory_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::take(&file).unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
