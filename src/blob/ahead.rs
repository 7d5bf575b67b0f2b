//! Bytes of a file in the kernel's memory, asked without waiting for a disk, and bytes that it shall read next: a thread
//! that serves many clients must not wait for one of them.

use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{BlobFile, Held};

/// Bytes fetched at a time, while as many are sent: enough to read a disk at its full speed.
const WINDOW_BYTES: u64 = 4 << 20;

/// Bytes that the kernel fetches at a time: its default read-ahead.
const NEAR_BYTES: u64 = 128 << 10;

/// A span of a file on its way out. It says how far the file can be read without waiting for a disk, and has what
/// follows fetched meanwhile.
#[derive(Debug)]
pub struct Ahead {
    file: Arc<File>,
    /// Offset of the next byte.
    offset: u64,
    /// Up to here it is in memory.
    ready: u64,
    end: u64,
    flight: Option<JoinHandle<io::Result<()>>>,
    _held: Option<Held>,
}

impl Ahead {
    /// At the beginning of a span.
    pub fn new(BlobFile { file, offset, length, held }: BlobFile) -> Self {
        Self { file, offset, ready: offset, end: offset + length, flight: None, _held: held }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that are left of the span.
    pub fn left(&self) -> u64 {
        self.end - self.offset
    }

    /// Reports the number of bytes taken.
    pub fn advance(&mut self, bytes: u64) {
        self.offset += bytes;
    }

    /// Bytes that can be taken now: none only at the end of the span.
    ///
    /// # Errors
    /// The file can't be read, or was cut.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        if self.offset >= self.ready && self.left() > 0 {
            let end = self.window_end(self.offset);
            if self.flight.is_none() {
                self.flight = self.fetch(self.offset, end);
            }
            if let Some(flight) = &mut self.flight {
                let landed = ready!(Pin::new(flight).poll(cx));
                self.flight = None;
                landed.map_err(io::Error::other)??;
            }
            self.ready = end;
            self.flight = self.fetch(end, self.window_end(end));
        }
        Poll::Ready(Ok(self.ready - self.offset))
    }

    fn window_end(&self, start: u64) -> u64 {
        self.end.min(start + WINDOW_BYTES)
    }

    /// Sends for a part that is not in memory.
    fn fetch(&self, start: u64, end: u64) -> Option<JoinHandle<io::Result<()>>> {
        if start == end || holds(&self.file, start, end) {
            return None;
        }
        let file = Arc::clone(&self.file);
        Some(spawn_blocking(move || bring(&file, start, end)))
    }
}

/// Tells whether a part is expected to be in memory: its last byte is, and its first if they are far apart. A reader waits
/// for pages that are missing between them. `false` where a file system can't tell.
fn holds(file: &File, start: u64, end: u64) -> bool {
    let there = |at| matches!(preadv2(file, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT), Ok(read) if read > 0);
    there(end - 1) && (end - start <= NEAR_BYTES || there(start))
}

/// Brings a part into memory. Blocks for as long as the disk takes.
fn bring(file: &File, start: u64, end: u64) -> io::Result<()> {
    let steps = || (start..end).step_by(NEAR_BYTES as usize).map(|at| (at, end.min(at + NEAR_BYTES)));
    // All of it is asked for at first, in steps because the kernel fetches only the beginning of what is larger. Then each
    // step is waited for. A file system without advice reads them then.
    for (start, end) in steps() {
        let _ = fadvise(file, start, NonZeroU64::new(end - start), Advice::WillNeed);
    }
    steps().try_for_each(|(_, end)| file.read_exact_at(&mut [0], end - 1))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> Arc<File> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Arc::new(file)
    }

    #[tokio::test]
    async fn a_span_is_ready_window_by_window() {
        let file = file_of(&vec![1; WINDOW_BYTES as usize * 2 + 10]);
        let mut ahead = Ahead::new(BlobFile { file, offset: 5, length: WINDOW_BYTES * 2, held: None });
        for expected in [WINDOW_BYTES, WINDOW_BYTES] {
            assert_eq!(poll_fn(|cx| ahead.poll_ready(cx)).await.unwrap(), expected);
            ahead.advance(expected - 1);
            assert_eq!(poll_fn(|cx| ahead.poll_ready(cx)).await.unwrap(), 1);
            ahead.advance(1);
        }
        assert_eq!(poll_fn(|cx| ahead.poll_ready(cx)).await.unwrap(), 0);
        assert_eq!((ahead.left(), ahead.offset()), (0, WINDOW_BYTES * 2 + 5));
    }

    #[tokio::test]
    async fn what_was_dropped_from_memory_is_fetched() {
        let file = file_of(&[1; 100_000]);
        file.sync_all().unwrap();
        fadvise(&*file, 0, None, Advice::DontNeed).unwrap();
        let mut ahead = Ahead::new(BlobFile { file: Arc::clone(&file), offset: 0, length: 100_000, held: None });
        assert_eq!(poll_fn(|cx| ahead.poll_ready(cx)).await.unwrap(), 100_000);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_an_error() {
        let mut ahead = Ahead::new(BlobFile { file: file_of(&[1; 10]), offset: 0, length: 11, held: None });
        let error = poll_fn(|cx| ahead.poll_ready(cx)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
