//! Bytes of an image for code that reads as from a file, on a thread that may block.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;

use crate::blob::{BlobBody, BlobFile};
use crate::error::{Error, Result};

/// Largest body without a file that is held in memory; only stores for tests have such bodies.
const HELD_BYTES_MAX: usize = 64 << 20;

/// Source of a reader.
pub(crate) enum Reading {
    Bytes(Cursor<Bytes>),
    File { file: BlobFile, at: u64 },
}

/// Ends work on a thread when it is dropped.
pub(crate) struct Leash(Arc<AtomicBool>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Reading {
    pub(crate) fn of_bytes(bytes: Bytes) -> Self {
        Self::Bytes(Cursor::new(bytes))
    }

    pub(crate) async fn of_body(body: BlobBody) -> Result<Self> {
        match body {
            BlobBody::File(file) => Ok(Self::File { file, at: 0 }),
            BlobBody::Stream { mut stream, .. } => {
                let mut bytes = Vec::new();
                while let Some(piece) = stream.next().await {
                    bytes.extend(piece?);
                    if bytes.len() > HELD_BYTES_MAX {
                        return Err(Error::internal("a body without a file is too long to be looked into"));
                    }
                }
                Ok(Self::of_bytes(bytes.into()))
            }
        }
    }

    /// A flag that tells the thread to go on, and a guard for the waiting task that clears it when dropped.
    pub(crate) fn leash() -> (Arc<AtomicBool>, Leash) {
        let go_on = Arc::new(AtomicBool::new(true));
        (Arc::clone(&go_on), Leash(go_on))
    }

    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.get_ref().len() as u64,
            Self::File { file, .. } => file.length,
        }
    }
}

impl Read for Reading {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(into),
            Self::File { file, at } => {
                let left = usize::try_from(file.length.saturating_sub(*at)).unwrap_or(usize::MAX);
                let wanted = into.len().min(left);
                let read = file.file.read_at(&mut into[..wanted], file.offset + *at)?;
                *at += read as u64;
                Ok(read)
            }
        }
    }
}

impl Seek for Reading {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => bytes.seek(to),
            Self::File { file, at } => {
                let place = match to {
                    SeekFrom::Start(place) => Some(place),
                    SeekFrom::End(shift) => file.length.checked_add_signed(shift),
                    SeekFrom::Current(shift) => at.checked_add_signed(shift),
                };
                *at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
                Ok(*at)
            }
        }
    }
}
