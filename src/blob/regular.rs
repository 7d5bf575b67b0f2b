//! Opening a file that must be a regular one, whatever was put in its place.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use rustix::path::Arg;

use super::{BlobStat, StoreError};

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens the entry `name` of `directory` for reading.
///
/// A symbolic link is not followed, a FIFO is not waited for, a device is not touched: all of them, like a directory,
/// are [`StoreError::Broken`]. `name` is one component, made or taken apart by the caller.
pub(super) fn open(directory: impl AsFd, name: impl Arg + Copy) -> Result<(File, BlobStat), StoreError> {
    // Opening a device can do things, so the type is looked at before; the entry can change, so it is looked at
    // again afterwards, when it can't any more.
    let before = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(looked_up)?;
    if FileType::from_raw_mode(before.st_mode) != FileType::RegularFile {
        return Err(not_regular());
    }
    checked(openat(&directory, name, FLAGS, Mode::empty()).map_err(looked_up)?)
}

/// Opens a file if the kernel can do so without waiting for a disk; `None` if not, or if the file is unusual.
///
/// Only for directories that are ours alone: what stands there is opened before it is looked at.
pub(super) fn open_at_once(directory: impl AsFd, name: impl Arg) -> Option<(File, BlobStat)> {
    let opened = openat2(directory, name, FLAGS, Mode::empty(), ResolveFlags::CACHED).ok()?;
    checked(opened).ok()
}

fn checked(opened: OwnedFd) -> Result<(File, BlobStat), StoreError> {
    let file = File::from(opened);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_regular());
    }
    let stat = BlobStat { size: metadata.len(), modified: metadata.modified()? };
    Ok((file, stat))
}

fn looked_up(error: Errno) -> StoreError {
    match error {
        Errno::NOENT => StoreError::NotFound,
        Errno::LOOP => not_regular(),
        other => other.into(),
    }
}

fn not_regular() -> StoreError {
    StoreError::broken("there is something else than a regular file under this name")
}
