//! Recycled buffers for moving image bytes.
//!
//! A fresh large `Vec` for each chunk is mapped and unmapped by the allocator, and its page faults cost more than the
//! copy. These go back to their pool when the last [`Bytes`] made of them is dropped.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Size of a buffer for uploads: 1 MiB was the fastest chunk to write, 64 KiB costs 1.6 times the processor time.
const UPLOAD_BUFFER_BYTES: usize = 1024 * 1024;

/// Size of a piece that is read for a client: what a connection holds for one that does not read on.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// Every buffer begins at a multiple of this, so that a disk can take it as it is.
pub(super) const ALIGNMENT: usize = 4096;

/// Idle buffers that a pool keeps: enough for a dozen transfers, and 32 MiB at the most between them.
const IDLE_MAX: usize = 32;

/// A pool of buffers of one size. Cloning shares it.
///
/// It limits what is idle, not what is in use: back-pressure is the business of who takes.
#[derive(Clone)]
pub struct Buffers(Arc<Pool>);

struct Pool {
    size: usize,
    idle: Mutex<Vec<Vec<u8>>>,
}

impl Buffers {
    /// Buffers to gather an upload in: 1 MiB each.
    pub fn for_uploads() -> Self {
        Self::of_size(UPLOAD_BUFFER_BYTES)
    }

    /// Buffers to read files into, see [`super::stream`]: 32 KiB each.
    pub fn for_reads() -> Self {
        Self::of_size(READ_BUFFER_BYTES)
    }

    pub(super) fn of_size(size: usize) -> Self {
        Self(Arc::new(Pool { size, idle: Mutex::new(Vec::new()) }))
    }

    /// The capacity of each buffer.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// An empty buffer with its full capacity.
    pub fn take(&self) -> Buffer {
        let mut buffer = self.take_any();
        buffer.bytes.truncate(buffer.begin);
        buffer
    }

    /// A buffer of exactly `length` bytes, at most its size, to be overwritten by the caller: they are what its last
    /// user left. Saves clearing what is about to be read into.
    pub(super) fn take_used(&self, length: usize) -> Buffer {
        let mut buffer = self.take_any();
        buffer.bytes.resize(buffer.begin + length.min(self.0.size), 0);
        buffer
    }

    fn take_any(&self) -> Buffer {
        let mut bytes = self.0.idle().pop().unwrap_or_else(|| Vec::with_capacity(self.0.size + ALIGNMENT));
        // It is never grown, so it stays where it is.
        let begin = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        if bytes.len() < begin {
            bytes.resize(begin, 0);
        }
        Buffer { bytes, begin, home: Arc::clone(&self.0) }
    }

    #[cfg(test)]
    fn idle(&self) -> usize {
        self.0.idle().len()
    }
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is sound whatever its holder was doing.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffers").field("size", &self.0.size).finish_non_exhaustive()
    }
}

/// A buffer that goes back to its pool. Its bytes begin at a multiple of what disks want.
pub struct Buffer {
    /// Bytes before `begin` only move the rest into place.
    bytes: Vec<u8>,
    begin: usize,
    home: Arc<Pool>,
}

impl Buffer {
    /// The content as `Bytes`, without a copy. The buffer is free again when the last clone is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.home.size - self.len()
    }

    /// Moves as much out of `from` as fits.
    pub fn fill(&mut self, from: &mut Bytes) {
        let fits = from.split_to(from.len().min(self.room()));
        self.bytes.extend_from_slice(&fits);
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.begin..]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let mut idle = self.home.idle();
        if idle.len() < IDLE_MAX {
            idle.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_its_last_clone_goes() {
        let pool = Buffers::of_size(4096);
        let mut buffer = pool.take();
        assert_eq!((buffer.len(), buffer.room()), (0, 4096));
        buffer.fill(&mut Bytes::from_static(b"hello"));
        let address = buffer.as_ptr();
        assert_eq!(address.align_offset(ALIGNMENT), 0);
        let whole = buffer.freeze();
        let part = whole.slice(1..3);
        drop(whole);
        assert_eq!((pool.idle(), part.as_ref()), (0, b"el".as_slice()));
        drop(part);
        assert_eq!(pool.idle(), 1);

        let again = pool.take();
        assert_eq!((again.as_ptr(), again.len(), pool.idle()), (address, 0, 0));
    }

    #[test]
    fn the_pool_keeps_a_bounded_number_of_buffers() {
        let pool = Buffers::of_size(16);
        let taken: Vec<_> = (0..IDLE_MAX + 5).map(|_| pool.take()).collect();
        drop(taken);
        assert_eq!(pool.idle(), IDLE_MAX);
    }

    #[test]
    fn a_buffer_takes_no_more_than_fits() {
        let mut buffer = Buffers::of_size(4).take();
        let mut bytes = Bytes::from_static(b"abcdef");
        buffer.fill(&mut bytes);
        buffer.fill(&mut bytes);
        assert_eq!((&*buffer, &*bytes, buffer.room()), (b"abcd".as_slice(), b"ef".as_slice(), 0));
    }

    #[test]
    fn a_used_buffer_has_the_length_asked_for_and_no_more_than_its_size() {
        let pool = Buffers::of_size(8);
        assert_eq!(pool.take_used(5).len(), 5);
        assert_eq!(pool.take_used(3).len(), 3);
        assert_eq!(pool.take_used(9).len(), 8);
    }
}
