//! Lock files that hold images: the list of them, and the digests in them. Blocking; knows the disk and no images.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::vendor::{Lock, Sum};

/// The list, in the directory of the cache.
const LIST: &str = "locks.json";

/// Most lock files that are remembered.
const FILES_MAX: usize = 1000;

/// Largest lock file, and largest list.
const BYTES_MAX: u64 = 8 << 20;

/// Remembers a lock file, whose images never go for room from now on.
///
/// # Errors
/// Those of the disk; `StorageFull` when too many are remembered already.
pub fn register_lock(dir: &Path, file: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let guard = File::create(dir.join("locks.guard"))?;
    // Two commands at once would lose one's file.
    guard.lock()?;
    let mut files = listed(dir)?;
    // What was removed holds nothing any more.
    files.retain(|file| file.exists());
    if !files.insert(fs::canonicalize(file)?) {
        return Ok(());
    }
    if files.len() > FILES_MAX {
        let text = format!("{FILES_MAX} lock files hold images already: remove some");
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    aside.write_all(&serde_json::to_vec(&files)?)?;
    aside.as_file().sync_all()?;
    aside.persist(dir.join(LIST))?;
    Ok(())
}

/// Digests in all lock files that are remembered. A file that is gone has none.
///
/// # Errors
/// A file that is there and can't be read: what it holds is not known then.
pub(super) fn locked(dir: &Path) -> io::Result<HashSet<Sum>> {
    let mut digests = HashSet::new();
    for file in listed(dir)? {
        let named = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
        let Some(text) = read(&file).map_err(|error| named(&error))? else { continue };
        let lock = Lock::parse(&text).map_err(|error| named(&error))?;
        digests.extend(lock.images.into_iter().map(|image| image.sha256));
    }
    Ok(digests)
}

fn listed(dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    match read(&dir.join(LIST))? {
        Some(text) => Ok(serde_json::from_str(&text)?),
        None => Ok(BTreeSet::new()),
    }
}

/// Reads a small file; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_holds_its_digests_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (cache, file) = (dir.path().join("cache"), dir.path().join("images.lock"));
        assert!(locked(&cache).unwrap().is_empty());
        let hex = "a".repeat(64);
        let text = format!(
            "[[image]]\nname = \"a/1:1\"\nalias = \"a/1\"\nurl = \"https://h/a\"\nfinal = \"https://h/a\"\n\
             sha256 = \"sha256:{hex}\"\nsize = 1\nserial = \"1\"\nverified = \"tls\"\nat = \"2026-01-01T00:00:00Z\"\n"
        );
        fs::write(&file, text).unwrap();
        register_lock(&cache, &file).unwrap();
        register_lock(&cache, &file).unwrap();
        assert_eq!(locked(&cache).unwrap(), HashSet::from([Sum::of_hex(&hex).unwrap()]));
        fs::write(&file, "no lock").unwrap();
        assert!(locked(&cache).unwrap_err().to_string().contains("images.lock"), "what it holds is not known");
        fs::remove_file(&file).unwrap();
        assert!(locked(&cache).unwrap().is_empty());
    }
}
