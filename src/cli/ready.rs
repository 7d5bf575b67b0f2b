//! The file that says that the server listens, and where.

use std::io::{self, Write};
use std::path::Path;

use super::failure::Failure;

/// Removes the file of an earlier run, which must not be taken for the one of this run.
///
/// # Errors
/// It is there and can't be removed.
pub(super) fn remove(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::general(format!("{}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

/// Writes the file aside and renames it, so that no reader finds half of it.
///
/// # Errors
/// It can't be written.
pub(super) fn write(file: &Path, urls: &[String]) -> io::Result<()> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    for url in urls {
        writeln!(aside, "{url}")?;
    }
    aside.persist(file)?;
    Ok(())
}
