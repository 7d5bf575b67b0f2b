//! Reading a blob as a stream, where the open file can't be handed to the kernel.
//!
//! What is in memory is copied on the caller's thread, which is cheaper than a hop to another; a disk is waited for
//! elsewhere (see [`Ahead`]). A consumer that stops costs one piece.

use std::future::poll_fn;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::ahead::Ahead;
use super::buffers::Buffers;
use super::{BlobBody, BlobFile, StoreError};

/// The bytes of `body`, in order. Pieces of a file come out of `buffers` (see [`Buffers::for_reads`]).
///
/// A file that ends before its announced length, because it was cut meanwhile, is an error and not an end.
pub fn stream(body: BlobBody, buffers: &Buffers) -> BoxStream<'static, Result<Bytes, StoreError>> {
    match body {
        BlobBody::Stream { stream, .. } => stream,
        BlobBody::File(file) => {
            let state = (Some(Ahead::new(file)), buffers.clone());
            stream::unfold(state, async |(ahead, buffers)| {
                let mut ahead = ahead.filter(|ahead| ahead.left() > 0)?;
                let piece = next(&mut ahead, &buffers).await;
                // Nothing that follows a gap is worth having.
                let rest = piece.is_ok().then_some(ahead);
                Some((piece, (rest, buffers)))
            })
            .boxed()
        }
    }
}

/// The first bytes of `body`, `count` or all that there are, and the body with all of its bytes.
///
/// # Errors
/// As [`stream()`].
pub async fn peek(body: BlobBody, count: usize, buffers: &Buffers) -> Result<(Vec<u8>, BlobBody), StoreError> {
    let (mut first, mut pieces) = (Vec::new(), Vec::new());
    match body {
        BlobBody::File(file) => {
            let length = file.length.min(count as u64);
            let head = BlobFile { file: Arc::clone(&file.file), offset: file.offset, length, held: None };
            let mut bytes = stream(BlobBody::File(head), buffers);
            while let Some(piece) = bytes.next().await {
                first.extend(piece?);
            }
            Ok((first, BlobBody::File(file)))
        }
        BlobBody::Stream { stream: mut rest, length } => {
            while first.len() < count
                && let Some(piece) = rest.next().await
            {
                let piece = piece?;
                first.extend_from_slice(&piece);
                pieces.push(Ok(piece));
            }
            first.truncate(count);
            Ok((first, BlobBody::Stream { stream: stream::iter(pieces).chain(rest).boxed(), length }))
        }
    }
}

async fn next(ahead: &mut Ahead, buffers: &Buffers) -> Result<Bytes, StoreError> {
    let ready = poll_fn(|cx| ahead.poll_ready(cx)).await?;
    let length = ready.min(buffers.size() as u64);
    let mut buffer = buffers.take_used(length as usize);
    ahead.file().read_exact_at(&mut buffer, ahead.offset())?;
    ahead.advance(length);
    Ok(buffer.freeze())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read(file: File, offset: u64, length: u64) -> BoxStream<'static, Result<Bytes, StoreError>> {
        stream(BlobBody::File(BlobFile { file: Arc::new(file), offset, length, held: None }), &Buffers::of_size(8))
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
    async fn the_first_bytes_are_seen_and_none_is_missing() {
        let (bytes, buffers): (Vec<u8>, _) = ((0..40).collect(), Buffers::of_size(8));
        for count in [0, 5, 8, 13, 40, 99] {
            let file = BlobFile { file: Arc::new(file_of(&bytes)), offset: 10, length: 20, held: None };
            let pieces = bytes[10..30].chunks(3).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>();
            let streamed = BlobBody::Stream { stream: stream::iter(pieces).boxed(), length: Some(20) };
            for body in [BlobBody::File(file), streamed] {
                let (first, body) = peek(body, count, &buffers).await.unwrap();
                assert_eq!(first, bytes[10..30][..count.min(20)]);
                assert_eq!(body.length(), Some(20));
                assert_eq!(all(stream(body, &buffers)).await.unwrap(), bytes[10..30]);
            }
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
        assert!(matches!(pieces.next().await, Some(Err(StoreError::Broken(_)))));
        assert!(pieces.next().await.is_none());
        let file = file_of(&[7; 20]);
        let handle = file.try_clone().unwrap();
        let mut pieces = read(file, 0, 20);
        assert_eq!(pieces.next().await.unwrap().unwrap(), [7; 8].as_slice());
        handle.set_len(12).unwrap();
        assert!(matches!(pieces.next().await, Some(Err(StoreError::Broken(_)))));
        assert!(pieces.next().await.is_none());
    }
}
