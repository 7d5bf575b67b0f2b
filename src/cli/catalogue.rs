//! The catalogue of vendors of this machine: the shipped one, with the entries and key files of its operator over it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::failure::{Exit, Failure};
use crate::config::{Config, DataDir};
use crate::vendor::Catalogue;

/// File of the data directory with entries.
const ENTRIES: &str = "vendors.toml";

/// Directory of the data directory's keys with those of vendors.
const KEYS: &str = "vendors";

/// Endings of key files: those of OpenPGP. A key of signify stands in its entry.
const KEY_FILES: [&str; 2] = ["asc", "gpg"];

/// Directory of an operator's key files.
pub(super) fn key_dir(data_dir: &Path) -> PathBuf {
    DataDir::keys(data_dir).join(KEYS)
}

/// The catalogue in force. The configuration has the last word.
///
/// # Errors
/// An entry that is not one, a key file without a key, or a file that can't be read.
pub(super) fn open(config: &Config, data_dir: &Path) -> Result<Catalogue, Failure> {
    let mut catalogue = Catalogue::shipped();
    let file = data_dir.join(ENTRIES);
    if let Some(text) = there(fs::read_to_string(&file)).map_err(|error| unread(&file, &error))? {
        let table = text.parse().map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())))?;
        catalogue = catalogue.with(table, &file.display().to_string()).map_err(usage)?;
    }
    catalogue = catalogue.with(config.vendors.clone(), "the configuration").map_err(usage)?;
    let dir = key_dir(data_dir);
    let entries = there(fs::read_dir(&dir)).map_err(|error| unread(&dir, &error))?;
    for entry in entries.into_iter().flatten() {
        let path = entry.map_err(|error| unread(&dir, &error))?.path();
        if path.extension().is_some_and(|ending| KEY_FILES.iter().any(|known| ending == *known)) {
            let bytes = fs::read(&path).map_err(|error| unread(&path, &error))?;
            catalogue = catalogue.with_key(&bytes, &path.display().to_string()).map_err(usage)?;
        }
    }
    for vendor in config.lxd.pull_through.iter().filter(|vendor| *vendor != "*") {
        catalogue.vendor(vendor).map_err(|error| usage(error).at("lxd.pull_through"))?;
    }
    Ok(catalogue)
}

fn there<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    match read {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    Failure::general(format!("{}: {error}", path.display()))
}

fn usage(error: crate::error::Error) -> Failure {
    Failure { exit: Exit::Usage, ..Failure::from(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_key_files_of_openpgp_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (keys, config) = (key_dir(dir.path()), Config::load(None).unwrap());
        fs::create_dir_all(&keys).unwrap();
        for (name, text) in
            [("README", "where these are from"), ("openbsd-78-base.pub", "untrusted comment: x\nRWQ=\n")]
        {
            fs::write(keys.join(name), text).unwrap();
        }
        assert!(open(&config, dir.path()).is_ok());
        fs::write(keys.join("flatcar.asc"), "no key").unwrap();
        let error = open(&config, dir.path()).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("flatcar.asc"), "{error:?}");
    }
}
