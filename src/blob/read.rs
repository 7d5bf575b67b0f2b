//! Reading a blob as a stream, for whoever can't hand the open file to the kernel.
//!
//! Files are read in pieces on the blocking pool, one piece ahead of the consumer, so that the disk and the network
//! work at the same time. A consumer that stops costs two pieces of memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buffers::Buffers;
use super::{BlobBody, BlobFile, StoreError};

/// The bytes of `body`, in order. Pieces of a file come out of `buffers` (see [`Buffers::for_reads`]).
///
/// A file that ends before its announced length, because somebody cut it meanwhile, is an error and not an end.
pub fn stream(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes, StoreError>> {
    match body {
        BlobBody::Stream { stream, .. } => stream,
        BlobBody::File(file) => stream::unfold(Ahead::new(file, buffers), Ahead::next).boxed(),
    }
}

type Flight = JoinHandle<Result<Bytes, StoreError>>;

/// A file that is read one piece ahead.
struct Ahead {
    file: Arc<File>,
    offset: u64,
    left: u64,
    buffers: Buffers,
    flight: Option<Flight>,
}

impl Ahead {
    fn new(BlobFile { file, offset, length }: BlobFile, buffers: &Buffers) -> Self {
        Self { file: Arc::new(file), offset, left: length, buffers: buffers.clone(), flight: None }
    }

    /// Waits for the piece in flight, having sent the one after it on its way.
    async fn next(mut self) -> Option<(Result<Bytes, StoreError>, Self)> {
        let flight = match self.flight.take() {
            Some(flight) => flight,
            None => self.start()?,
        };
        let piece = match flight.await {
            Ok(piece) => piece,
            Err(error) => Err(StoreError::Broken(io::Error::other(error))),
        };
        if piece.is_ok() {
            self.flight = self.start();
        } else {
            // Nothing that follows a gap is worth having.
            self.left = 0;
        }
        Some((piece, self))
    }

    fn start(&mut self) -> Option<Flight> {
        let length = self.left.min(self.buffers.size() as u64);
        if length == 0 {
            return None;
        }
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        let buffers = self.buffers.clone();
        self.offset += length;
        self.left -= length;
        Some(spawn_blocking(move || {
            let mut buffer = buffers.take_used(length as usize);
            file.read_exact_at(&mut buffer, offset)?;
            Ok(buffer.freeze())
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(file: File, offset: u64, length: u64) -> BoxStream<'static, Result<Bytes, StoreError>> {
        stream(BlobBody::File(BlobFile { file, offset, length }), &Buffers::of_size(8))
    }

    async fn all(mut from: BoxStream<'static, Result<Bytes, StoreError>>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        while let Some(piece) = from.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn every_span_of_a_file_comes_out_whole_and_in_order() {
        let bytes: Vec<u8> = (0..40).collect();
        for (offset, length) in [(0, 40), (0, 0), (0, 8), (7, 17), (39, 1), (40, 0)] {
            let got = all(read(file_of(&bytes), offset, length)).await.unwrap();
            assert_eq!(got, bytes[offset as usize..(offset + length) as usize], "{offset}+{length}");
        }
    }

    #[tokio::test]
    async fn pieces_that_are_kept_do_not_change_when_buffers_are_recycled() {
        let bytes: Vec<u8> = (0..200).collect();
        let mut pieces = read(file_of(&bytes), 0, 200);
        let mut kept = Vec::new();
        while let Some(piece) = pieces.next().await {
            kept.push(piece.unwrap());
        }
        assert_eq!(kept.concat(), bytes);
    }

    #[tokio::test]
    async fn a_file_that_was_cut_is_an_error_and_then_the_end() {
        let mut pieces = read(file_of(&[7; 20]), 0, 30);
        assert_eq!(pieces.next().await.unwrap().unwrap(), [7; 8].as_slice());
        assert_eq!(pieces.next().await.unwrap().unwrap(), [7; 8].as_slice());
        assert!(matches!(pieces.next().await, Some(Err(StoreError::Broken(_)))));
        assert!(pieces.next().await.is_none());
    }
}
