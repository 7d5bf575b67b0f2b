//! Packing the files below a directory that may change meanwhile: everything is opened relative to what was opened before
//! it, and never through a link.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, major, minor, openat, readlinkat, statat};
use tar::{Builder, EntryType, Header};

/// Directories in directories. Each holds a descriptor open.
const DEPTH_MAX: usize = 256;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Flags for files: the entry may have been replaced since it was listed, and opening a pipe would wait for its other end.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens a directory that is no link.
pub(crate) fn open_dir(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    Ok(openat(at, name, DIRECTORY, Mode::empty())?)
}

/// Opens a file that is one, and says how long it is.
pub(crate) fn open_file(at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<(File, Stat)> {
    let file = openat(at, name, FILE, Mode::empty())?;
    let stat = fstat(&file)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file.into(), stat)),
        _ => Err(io::Error::other("it is no file")),
    }
}

/// Packs a directory and everything in it under a path.
pub(crate) fn append_dir<W: Write>(
    archive: &mut Builder<W>,
    dir: OwnedFd,
    path: &Path,
    depth: usize,
) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other("its directories are too deep"));
    }
    let mut header = header(&fstat(&dir)?, EntryType::Directory);
    archive.append_data(&mut header, path, io::empty())?;
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let name = entry?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            names.push(name);
        }
    }
    // Equal files make equal archives, in whatever order the disk lists them.
    names.sort();
    for name in names {
        append(archive, &dir, &name, &path.join(OsStr::from_bytes(name.as_bytes())), depth)?;
    }
    Ok(())
}

fn append<W: Write>(archive: &mut Builder<W>, dir: &OwnedFd, name: &CStr, path: &Path, depth: usize) -> io::Result<()> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let special = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let below = openat(dir, name, DIRECTORY, Mode::empty())?;
            return append_dir(archive, below, path, depth + 1);
        }
        FileType::RegularFile => {
            let (file, stat) = open_file(dir, name)?;
            return append_file(archive, file, &stat, path);
        }
        FileType::Symlink => {
            let target = readlinkat(dir, name, Vec::new())?;
            let mut header = header(&stat, EntryType::Symlink);
            return archive.append_link(&mut header, path, OsStr::from_bytes(target.as_bytes()));
        }
        FileType::Fifo => EntryType::Fifo,
        FileType::CharacterDevice => EntryType::Char,
        FileType::BlockDevice => EntryType::Block,
        // A socket belongs to a running process; an image has none.
        FileType::Socket | FileType::Unknown => return Ok(()),
    };
    let mut header = header(&stat, special);
    header.set_device_major(major(stat.st_rdev))?;
    header.set_device_minor(minor(stat.st_rdev))?;
    archive.append_data(&mut header, path, io::empty())
}

fn append_file<W: Write>(archive: &mut Builder<W>, file: File, stat: &Stat, path: &Path) -> io::Result<()> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut header = header(stat, EntryType::Regular);
    header.set_size(size);
    let mut counted = CountedWriter { file: file.take(size), read: 0 };
    archive.append_data(&mut header, path, &mut counted)?;
    // What the header says has to be there, or everything behind it is garbage.
    if counted.read == size { Ok(()) } else { Err(io::Error::other("a file became shorter while it was packed")) }
}

/// A file, and how much of it was read.
struct CountedWriter {
    file: io::Take<File>,
    read: u64,
}

impl Read for CountedWriter {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read += read as u64;
        Ok(read)
    }
}

fn header(stat: &Stat, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}
