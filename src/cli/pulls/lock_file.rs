//! Lock files on the disk: how they are read, and how they are written so that nothing else is lost. `-` is standard input and output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::super::failure::{Exit, Failure, words_of};
use crate::vendor::Lock;

/// Mode of a new lock file. It is for others too: it goes into a repository.
const MODE: u32 = 0o644;

/// Largest lock file that is read.
const BYTES_MAX: u64 = 8 << 20;

/// Links that are followed to a file that is not there yet.
const LINKS_MAX: usize = 16;

/// Place that a lock file was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// A file.
    File,
    /// A device, a pipe or a socket, which keeps nothing.
    Sent,
    /// Standard output.
    Printed,
}

/// Tells if a path means standard input and output.
pub(super) fn is_stream(file: &Path) -> bool {
    file == Path::new("-") || file == Path::new("/dev/stdout")
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    let exit = match error.kind() {
        io::ErrorKind::NotFound => Exit::NotFound,
        io::ErrorKind::StorageFull => Exit::Full,
        _ => Exit::General,
    };
    Failure::new(exit, format!("{}: {}", file.display(), words_of(error)))
}

/// Reads a lock file.
///
/// # Errors
/// A file that can't be read; one that is no lock file.
pub(super) fn read(file: &Path) -> Result<Lock, Failure> {
    let text = match file == Path::new("-") {
        true => bounded(io::stdin()),
        false => File::open(file).and_then(bounded),
    };
    let text = text.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            let words = "it does not exist; visor lock makes one of the images that are here, and -f names another";
            Failure::new(Exit::NotFound, format!("{}: {words}", file.display()))
        }
        _ => failed(file, &error),
    })?;
    Lock::parse(&text).map_err(|error| Failure::new(Exit::Usage, format!("{}: {error}", file.display())))
}

/// The text of a lock file. A device may have no end.
fn bounded(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    match from.take(BYTES_MAX + 1).read_to_string(&mut text)? as u64 {
        0..=BYTES_MAX => Ok(text),
        _ => Err(io::Error::other("it is too large for a lock file")),
    }
}

/// Writes a lock file: a file under another name first, so that no reader finds half of it. A link stays, and its target is written.
///
/// # Errors
/// A directory; a folder that is not there; those of the disk.
pub(super) fn write(file: &Path, text: &str) -> Result<Written, Failure> {
    if is_stream(file) {
        let mut output = io::stdout().lock();
        let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
        return written.map(|()| Written::Printed).map_err(|error| failed(file, &error));
    }
    let wrong = |error: io::Error| failed(file, &error);
    let found = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(wrong)?),
    };
    match found {
        Some(found) if found.is_dir() => Err(wrong(io::ErrorKind::IsADirectory.into())),
        Some(found) if !found.is_file() => {
            let sent = OpenOptions::new().write(true).open(file).and_then(|mut file| file.write_all(text.as_bytes()));
            sent.map(|()| Written::Sent).map_err(wrong)
        }
        found => {
            let target = target(file).map_err(wrong)?;
            let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            if !dir.is_dir() {
                let words = format!("there is no folder {}: make it first", dir.display());
                return Err(Failure::new(Exit::NotFound, format!("{}: {words}", file.display())));
            }
            put(dir, &target, text, found.as_ref()).map(|()| Written::File).map_err(wrong)
        }
    }
}

/// The file that a path leads to, by links; it may not be there yet.
fn target(file: &Path) -> io::Result<PathBuf> {
    let mut target = file.to_path_buf();
    for _ in 0..LINKS_MAX {
        match fs::read_link(&target) {
            Ok(next) => target = target.parent().unwrap_or(Path::new("")).join(next),
            // It is no link, or nothing.
            Err(_) => return Ok(target),
        }
    }
    Err(io::Error::other("it leads through too many links"))
}

fn put(dir: &Path, target: &Path, text: &str, before: Option<&fs::Metadata>) -> io::Result<()> {
    let mut aside = tempfile::NamedTempFile::new_in(dir)?;
    aside.write_all(text.as_bytes())?;
    if let Some(before) = before {
        // Only root can give a file away, and for any other user it is their own already.
        let _ = fchown(aside.as_file(), Some(before.uid()), Some(before.gid()));
    }
    let mode = before.map_or(MODE, |before| before.permissions().mode() & 0o7777);
    aside.as_file().set_permissions(PermissionsExt::from_mode(mode))?;
    aside.as_file().sync_all()?;
    aside.persist(target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, second) = (dir.path().join("a.lock"), dir.path().join("link"), dir.path().join("second"));
        assert_eq!(write(&file, "one").unwrap(), Written::File);
        assert_eq!(mode(&file), 0o644);
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("a.lock", &link).unwrap();
        std::os::unix::fs::symlink(&link, &second).unwrap();
        write(&second, "two").unwrap();
        assert_eq!((fs::read_to_string(&file).unwrap().as_str(), mode(&file)), ("two", 0o600));
        assert!(link.is_symlink() && second.is_symlink());
        fs::remove_file(&file).unwrap();
        write(&link, "three").unwrap();
        assert!(link.is_symlink() && fs::read_to_string(&file).unwrap() == "three", "a target that was not there");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("full");
        std::os::unix::fs::symlink("/dev/full", &link).unwrap();
        let failure = write(&link, "text").unwrap_err();
        assert_eq!(failure.exit, Exit::Full, "{}", failure.message);
        assert!(link.is_symlink());
        std::os::unix::fs::symlink("/dev/null", dir.path().join("null")).unwrap();
        assert_eq!(write(&dir.path().join("null"), "text").unwrap(), Written::Sent);
        let turn = dir.path().join("turn");
        std::os::unix::fs::symlink("turn", &turn).unwrap();
        assert!(write(&turn, "text").is_err());
    }

    #[test]
    fn a_failure_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone/x.lock");
        for (failure, words) in [
            (write(dir.path(), "").unwrap_err(), "it is a directory: name a file"),
            (write(&gone, "").unwrap_err(), "make it first"),
            (read(dir.path()).unwrap_err(), "it is a directory: name a file"),
            (read(&gone).unwrap_err(), "visor lock makes one"),
            (read(Path::new("/dev/zero")).unwrap_err(), "too large"),
        ] {
            let text = failure.message.replace(&*dir.path().to_string_lossy(), "");
            assert!(text.contains(words) && !text.contains("os error") && !text.contains("/.tmp"), "{text}");
        }
    }
}
