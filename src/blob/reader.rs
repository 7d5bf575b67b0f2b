//! Bytes of an image for code that reads as from a file, on a thread that may block.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::blob::{BlobBody, BlobFile, StoreError};
use crate::error::{Error, Result};

/// Largest body without a file that is held in memory; only stores for tests have such bodies.
const HELD_BYTES_MAX: usize = 64 << 20;

/// First bytes of a body that stay together, for readers that look at them and go back.
const HEAD: usize = 4096;

/// Pieces of a body without a file that wait for the reader.
const WAITING_PIECES: usize = 2;

/// Source of a reader.
pub(crate) enum Reading {
    Bytes(Cursor<Bytes>),
    File {
        file: BlobFile,
        at: u64,
    },
    /// Read once, from its beginning to its end.
    Stream(Passing),
}

/// Bytes that pass by. The last piece stays, so that a reader can go back in it.
pub(crate) struct Passing {
    pieces: mpsc::Receiver<Result<Bytes, StoreError>>,
    piece: Bytes,
    /// Place of the piece in the body, and of the reader in it.
    begin: u64,
    at: u64,
    length: u64,
    go_on: Box<dyn Fn() -> bool + Send>,
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

    /// Bytes for a reader that goes forward only, but may go back to the beginning after the first 512 bytes. Has to be
    /// called in a task; the reader must be on a thread that may block.
    pub(crate) async fn in_order(body: BlobBody) -> Result<Self> {
        let BlobBody::Stream { mut stream, length } = body else { return Self::of_body(body).await };
        let mut first = BytesMut::new();
        while first.len() < HEAD
            && let Some(piece) = stream.next().await
        {
            first.extend_from_slice(&piece?);
        }
        let (sender, pieces) = mpsc::channel(WAITING_PIECES);
        // Ends with the reader: then nothing takes the next piece.
        tokio::spawn(async move {
            while let Some(piece) = stream.next().await {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self::of_pieces(first.freeze(), pieces, length))
    }

    /// Bytes that others send piece by piece, for a reader as that of [`Reading::in_order`].
    pub(crate) fn of_pieces(
        first: Bytes,
        pieces: mpsc::Receiver<Result<Bytes, StoreError>>,
        length: Option<u64>,
    ) -> Self {
        let (length, go_on) = (length.unwrap_or(u64::MAX), Box::new(|| true));
        Self::Stream(Passing { pieces, piece: first, begin: 0, at: 0, length, go_on })
    }

    /// Asks before it waits for each next piece, also of bytes that are left out: `false` ends the reading with an error.
    pub(crate) fn asking(mut self, go_on: impl Fn() -> bool + Send + 'static) -> Self {
        if let Self::Stream(passing) = &mut self {
            passing.go_on = Box::new(go_on);
        }
        self
    }

    /// True for bytes that are read once, and never skipped.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.get_ref().len() as u64,
            Self::File { file, .. } => file.length,
            Self::Stream(passing) => passing.length,
        }
    }
}

impl Passing {
    /// Rest of the piece at the reader's place; the next piece, if there is none. Empty at the end.
    fn rest(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.begin + self.piece.len() as u64 {
            if !(self.go_on)() {
                return Err(io::Error::other("the bytes are not wanted any more"));
            }
            let Some(next) = self.pieces.blocking_recv() else { return Ok(&[]) };
            self.begin += self.piece.len() as u64;
            self.piece = next.map_err(io::Error::other)?;
        }
        Ok(&self.piece[(self.at - self.begin) as usize..])
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
            Self::Stream(passing) => {
                let rest = passing.rest()?;
                let count = rest.len().min(into.len());
                into[..count].copy_from_slice(&rest[..count]);
                passing.at += count as u64;
                Ok(count)
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
            Self::Stream(passing) => {
                let place = match to {
                    SeekFrom::Start(place) => Some(place),
                    SeekFrom::Current(shift) => passing.at.checked_add_signed(shift),
                    SeekFrom::End(_) => None,
                };
                let place = place.filter(|place| *place >= passing.begin);
                passing.at = place.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
                Ok(passing.at)
            }
        }
    }
}
