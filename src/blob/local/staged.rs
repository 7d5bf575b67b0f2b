//! A file in the staging area: how its bytes get to the disk, and how it becomes a blob.
//!
//! Whole buffers go around the page cache: they have to be on the disk before the upload is acknowledged anyway, and
//! copying them into memory first costs processor time and throws out of memory what others read. What is not a whole
//! number of blocks goes through it, and so does everything where the file system knows no other way.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags, fallocate};
use rustix::io::Errno;

use super::Rooms;
use crate::blob::buffers::ALIGNMENT;
use crate::blob::sparse::{Stretch, stretches};
use crate::blob::{StoreError, regular};
use crate::image::BlobKey;

/// Fates of a staged file that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Remove,
    /// Keeps it, for an upload that continues.
    Keep,
    /// Published: no longer in the staging area.
    Published,
}

/// A file in the staging area. Dropping it removes it, unless it is kept or published; that blocks.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) rooms: Arc<Rooms>,
    name: String,
    pub(super) sink: Arc<Sink>,
    fate: Fate,
}

/// The name under which a file is kept for a later writer. No [`BlobKey`] and no name of a run looks like it.
pub(super) fn kept_name(key: &BlobKey) -> String {
    format!("{key}.kept")
}

/// The key of the file with this name.
pub(super) fn kept_key(name: &str) -> Option<BlobKey> {
    name.strip_suffix(".kept")?.parse().ok()
}

impl Staged {
    /// A new file, with room for `size` bytes set aside if it is known how many come.
    pub(super) fn create(rooms: &Arc<Rooms>, size: Option<u64>) -> Result<Self, StoreError> {
        let name = rooms.staged_name();
        let file = open(rooms, &name, OFlags::CREATE | OFlags::EXCL)?;
        let direct = open(rooms, &name, OFlags::DIRECT).ok();
        let sink = Arc::new(Sink { direct, ..Sink::of(file) });
        let staged = Self { rooms: Arc::clone(rooms), name, sink, fate: Fate::Remove };
        if let Some(size) = size {
            staged.sink.reserve(size)?;
        }
        Ok(staged)
    }

    /// Another name of a file, with its size. `None` where a file can't have one: it is on another file system, or not there.
    pub(super) fn adopt(rooms: &Arc<Rooms>, file: &Path) -> Result<Option<(Self, u64)>, StoreError> {
        let name = rooms.staged_name();
        match rustix::fs::linkat(CWD, file, &rooms.staging, &name, AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::ACCESS | Errno::NOENT | Errno::OPNOTSUPP) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let opened = regular::open(&rooms.staging, name.as_str());
        let (file, stat) = opened.inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&rooms.staging, &name, AtFlags::empty());
        })?;
        // Open for reading only: no write reaches the file.
        let staged = Self { rooms: Arc::clone(rooms), name, sink: Arc::new(Sink::of(file)), fate: Fate::Remove };
        Ok(Some((staged, stat.size)))
    }

    /// Continues the file of an earlier writer, of which `length` bytes count.
    pub(super) fn resume(
        rooms: &Arc<Rooms>,
        key: &BlobKey,
        length: u64,
        size: Option<u64>,
    ) -> Result<Self, StoreError> {
        let name = kept_name(key);
        let kept = match regular::open(&rooms.staging, name.as_str()) {
            Err(StoreError::NotFound) => {
                reclaim(rooms, key, &name)?;
                regular::open(&rooms.staging, name.as_str())?.1
            }
            kept => kept?.1,
        };
        if kept.size < length {
            return Err(StoreError::NotFound);
        }
        let file = open(rooms, &name, OFlags::empty())?;
        let direct = open(rooms, &name, OFlags::DIRECT).ok();
        // Behind the bytes that count there may be others: a place for zeros has to be emptied first.
        let sink = Arc::new(Sink { direct, blank: AtomicBool::new(false), ..Sink::of(file) });
        if let Some(size) = size {
            sink.reserve(size)?;
        }
        Ok(Self { rooms: Arc::clone(rooms), name, sink, fate: Fate::Keep })
    }

    /// Makes what was written durable, and the file one that stays when this is dropped.
    pub(super) fn keep(&mut self, key: &BlobKey, size: u64) -> Result<(), StoreError> {
        self.sink.settle(size, false)?;
        if self.fate == Fate::Remove {
            let (staging, name) = (&self.rooms.staging, kept_name(key));
            rustix::fs::renameat(staging, &self.name, staging, &name)?;
            self.name = name;
            self.fate = Fate::Keep;
            rustix::fs::fsync(staging).map_err(|error| StoreError::Broken(error.into()))?;
        }
        Ok(())
    }

    /// Opens the written bytes for reading.
    pub(super) fn reread(&self) -> Result<File, StoreError> {
        Ok(regular::open(&self.rooms.staging, self.name.as_str())?.0)
    }

    /// Makes the file durable, then visible, then its name durable.
    pub(super) fn publish(mut self, key: &BlobKey, size: u64) -> Result<(), StoreError> {
        self.sink.settle(size, true)?;
        let Rooms { images, staging, .. } = &*self.rooms;
        rustix::fs::renameat(staging, &self.name, images, key.as_str())?;
        self.fate = Fate::Published;
        self.rooms.sync_images()
    }

    /// Makes `key` another name of the file of `twin`, if that has the same bytes. They are compared: a file that the disk
    /// has damaged must not take the place of one that is right.
    pub(super) fn link(&self, twin: &BlobKey, size: u64, key: &BlobKey) -> Result<bool, StoreError> {
        let Rooms { images, staging, .. } = &*self.rooms;
        self.sink.stretch(size, true)?;
        let there = match regular::open(images, twin.as_str()) {
            Ok((file, stat)) if stat.size == size => file,
            _ => return Ok(false),
        };
        if twin == key || !same(&there, &self.reread()?, size) {
            return Ok(false);
        }
        let name = self.rooms.staged_name();
        if rustix::fs::linkat(images, twin.as_str(), staging, &name, AtFlags::empty()).is_err() {
            // It went meanwhile, has as many names as a file can have, or the file system knows only one.
            return Ok(false);
        }
        let linked = rustix::fs::renameat(staging, &name, images, key.as_str());
        // A rename between two names of one file leaves both.
        let _ = rustix::fs::unlinkat(staging, &name, AtFlags::empty());
        linked?;
        self.rooms.sync_images()?;
        Ok(true)
    }

    /// The file is not wanted: dropping this removes it, kept or not.
    pub(super) fn discard(&mut self) {
        self.fate = Fate::Remove;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.fate == Fate::Remove
            && let Err(error) = rustix::fs::unlinkat(&self.rooms.staging, &self.name, AtFlags::empty())
        {
            log::warn!("a staged file could not be removed, the next start will try again: {error}");
        }
    }
}

/// Removes a file that was published just before a crash and never acknowledged. A file with other names also belongs to
/// another blob.
fn reclaim(rooms: &Rooms, key: &BlobKey, name: &str) -> Result<(), StoreError> {
    let (file, _) = regular::open(&rooms.images, key.as_str())?;
    if file.metadata()?.nlink() > 1 {
        return Err(StoreError::NotFound);
    }
    rustix::fs::renameat(&rooms.images, key.as_str(), &rooms.staging, name)?;
    rustix::fs::fsync(&rooms.staging).map_err(|error| StoreError::Broken(error.into()))?;
    rooms.sync_images()
}

/// Compares `size` bytes of two files. Files that can't be read differ.
fn same(one: &File, other: &File, size: u64) -> bool {
    const PIECE: usize = 1 << 20;
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    (0..size).step_by(PIECE).all(|at| {
        let length = PIECE.min((size - at) as usize);
        let read = |file: &File, into: &mut [u8]| file.read_exact_at(into, at).is_ok();
        read(one, &mut left[..length]) && read(other, &mut right[..length]) && left[..length] == right[..length]
    })
}

fn open(rooms: &Rooms, name: &str, how: OFlags) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
    rustix::fs::openat(&rooms.staging, name, flags, Mode::RUSR | Mode::WUSR).map(File::from)
}

/// The destination of written bytes.
#[derive(Debug)]
pub(super) struct Sink {
    file: File,
    /// The file opened without the page cache, if the file system can.
    direct: Option<File>,
    /// The unwritten parts are empty: no reserved blocks, and no bytes of an earlier writer.
    blank: AtomicBool,
}

impl Sink {
    /// Through the page cache.
    pub(super) fn of(file: File) -> Self {
        Self { file, direct: None, blank: AtomicBool::new(true) }
    }

    /// Sets room aside, so that a disk is found too full before the first byte and not behind the last.
    fn reserve(&self, size: u64) -> Result<(), StoreError> {
        match size {
            0 => Ok(()),
            size => match fallocate(&self.file, FallocateFlags::empty(), 0, size) {
                Ok(()) => {
                    self.blank.store(false, Ordering::Relaxed);
                    Ok(())
                }
                // Not every file system can; it is found out while writing then.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(()),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Writes a chunk; zeros are left out.
    pub(super) fn write_at(&self, chunk: &[u8], offset: u64) -> io::Result<()> {
        for stretch in stretches(chunk, offset) {
            match stretch {
                Stretch::Data(range) => self.put(&chunk[range.clone()], offset + range.start as u64)?,
                Stretch::Zeros(range) => {
                    let (start, length) = (offset + range.start as u64, range.len() as u64);
                    self.leave_out(&chunk[range], start, length)?;
                }
            }
        }
        Ok(())
    }

    fn put(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = |number: u64| number.is_multiple_of(ALIGNMENT as u64);
        let fits = aligned(offset) && aligned(bytes.len() as u64) && bytes.as_ptr().align_offset(ALIGNMENT) == 0;
        if let Some(direct) = self.direct.as_ref().filter(|_| fits) {
            match direct.write_all_at(bytes, offset) {
                // A file system, or a disk, that wants it otherwise.
                Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {}
                done => return done,
            }
        }
        self.file.write_all_at(bytes, offset)
    }

    /// Leaves out zeros: a hole reads as zeros.
    fn leave_out(&self, zeros: &[u8], offset: u64, length: u64) -> io::Result<()> {
        if self.blank.load(Ordering::Relaxed) {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, length) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => self.file.write_all_at(zeros, offset),
            done => Ok(done?),
        }
    }

    /// Makes all of it durable.
    fn settle(&self, size: u64, whole: bool) -> Result<(), StoreError> {
        self.stretch(size, whole)?;
        // The kernel reports a failed write-back once and then forgets it: no second try, and no reading "full" out
        // of it, can make the bytes good.
        self.file.sync_all().map_err(StoreError::Broken)
    }

    /// Extends the file to `size`, with zeros that were left out at its end, and cuts a `whole` file there.
    fn stretch(&self, size: u64, whole: bool) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        match length < size || (whole && length > size) {
            true => self.file.set_len(size),
            false => Ok(()),
        }
    }
}
