//! The ready file: the URLs of a server that listens.

use std::io::{self, Write};
use std::path::Path;

use super::failure::Failure;

/// Removes the file of an earlier run, so that it is not taken for this run's.
///
/// # Errors
/// The file exists and can't be removed.
pub(super) fn remove(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::general(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Writes the file under another name and renames it, so that no reader finds half of it.
///
/// # Errors
/// The file can't be written.
pub(super) fn write(file: &Path, urls: &[String]) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    for url in urls {
        writeln!(aside, "{url}")?;
    }
    aside.persist(file)?;
    Ok(())
}
