//! Reading a blob, or a part of one, piece by piece.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use opendal::{Buffer, Operator};

use super::trouble::{Trouble, Why, told, told_why};
use crate::blob::{BlobBody, StoreError};
use crate::image::BlobKey;

/// Largest piece that is handed on. Connections bring smaller ones; a reader that stops costs little more than one.
const PIECE_BYTES: usize = 256 * 1024;

/// The bytes of a blob from `offset` on, `length` of them. They are under way when this returns, so that a blob that goes
/// meanwhile is still read.
pub(super) async fn open(
    store: &str,
    operator: &Operator,
    key: &BlobKey,
    offset: u64,
    length: u64,
) -> Result<BlobBody, StoreError> {
    if length == 0 {
        return Ok(BlobBody::Stream { stream: stream::empty().boxed(), length: Some(0) });
    }
    let opened = async { operator.reader(key.as_str()).await?.into_stream(offset..offset + length).await };
    let mut source = opened.await.map_err(|error| told(store, &error))?.boxed();
    let first = source.next().await.transpose().map_err(|error| told(store, &error))?;
    let waiting = first.unwrap_or_default();
    let reading = RemoteReading { store: store.to_owned(), source, waiting, left: length };
    let pieces = stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        let piece = reading.next().await?;
        // Nothing that follows a gap is worth having.
        let rest = piece.is_ok().then_some(reading);
        Some((piece, rest))
    });
    Ok(BlobBody::Stream { stream: pieces.fuse().boxed(), length: Some(length) })
}

/// A blob that is being read.
struct RemoteReading {
    store: String,
    source: BoxStream<'static, opendal::Result<Buffer>>,
    /// Received bytes that were not handed on.
    waiting: Buffer,
    left: u64,
}

impl RemoteReading {
    /// In mid-body the library finds nothing odd but another number of bytes than it asked for.
    fn broken_off(&self, error: &opendal::Error) -> StoreError {
        match Trouble::of(error).why {
            Why::Odd => told_why(&self.store, Why::Cut),
            why => told_why(&self.store, why),
        }
    }

    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        while self.waiting.is_empty() {
            match self.source.next().await {
                Some(Ok(buffer)) => self.waiting = buffer,
                Some(Err(error)) => return Some(Err(self.broken_off(&error))),
                None if self.left == 0 => return None,
                None => return Some(Err(told_why(&self.store, Why::Cut))),
            }
        }
        let size = self.waiting.len().min(PIECE_BYTES);
        let rest = self.waiting.slice(size..);
        self.waiting.truncate(size);
        let piece = std::mem::replace(&mut self.waiting, rest).to_bytes();
        match self.left.checked_sub(size as u64) {
            Some(left) => {
                self.left = left;
                Some(Ok(piece))
            }
            None => Some(Err(told_why(&self.store, Why::Cut))),
        }
    }
}
