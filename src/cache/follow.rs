//! Readers of a fill: each waits for its next byte and takes what is there out of the page cache. One that is slow holds up no other.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::fill::{End, FillState, Reader};
use crate::blob::{self, BlobBody, BlobFile, Buffers, StoreError};

type Span = BoxStream<'static, Result<Bytes, StoreError>>;

/// Reading of a fill, as far as it came.
struct Follower {
    reader: Reader,
    state: watch::Receiver<FillState>,
    /// Bytes that are known to be there.
    span: Option<Span>,
    at: u64,
    /// End of what is wanted; `None` for the end of all.
    end: Option<u64>,
    tail_too: bool,
    patience: Duration,
    buffers: Buffers,
}

/// Part of a fill that is wanted, and how.
pub(super) struct Section {
    pub(super) start: u64,
    /// End (exclusive); `None` for the end of all.
    pub(super) end: Option<u64>,
    /// True for a part that is given out before the verdict, even at the end of all.
    pub(super) tail_too: bool,
    /// Time to wait for anything to happen.
    pub(super) patience: Duration,
    pub(super) buffers: Buffers,
}

/// The bytes as they come, once the first of them is there. An error is the last thing in the stream, and then they are not complete.
///
/// # Errors
/// `Unavailable` if there will be none: an answer that could only break off at its beginning is not begun.
pub(super) async fn open(reader: Reader, wanted: Section) -> Result<BlobBody, StoreError> {
    let Section { start: at, end, tail_too, patience, buffers } = wanted;
    let length = end.or_else(|| reader.0.state.borrow().length).map(|end| end - at);
    let state = reader.0.state.subscribe();
    let mut follower = Follower { reader, state, span: None, at, end, tail_too, patience, buffers };
    let first = follower.next().await.transpose()?;
    let rest = first.is_some().then_some(follower);
    let pieces = stream::unfold(rest, |follower| async move {
        let mut follower = follower?;
        let piece = follower.next().await?;
        let rest = piece.is_ok().then_some(follower);
        Some((piece, rest))
    });
    Ok(BlobBody::Stream { stream: stream::iter(first.map(Ok)).chain(pieces).boxed(), length })
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Bytes, StoreError>> {
        loop {
            if let Some(span) = &mut self.span {
                match span.next().await {
                    Some(Ok(piece)) => {
                        self.at += piece.len() as u64;
                        return Some(Ok(piece));
                    }
                    Some(Err(error)) => return Some(Err(error)),
                    None => self.span = None,
                }
            }
            if self.end.is_some_and(|end| self.at >= end) {
                return None;
            }
            let (ended, before) = {
                let state = self.state.borrow_and_update();
                let ended = match &state.end {
                    None => None,
                    Some(End::Done(_)) => Some(Ok(state.length.unwrap_or(self.at))),
                    Some(End::Failed(failure)) => Some(Err(failure.words.clone())),
                    Some(End::Replaced) => {
                        Some(Err(format!("{} changed while it was fetched", self.reader.0.key.shown())))
                    }
                };
                (ended, progress(&state))
            };
            match ended {
                Some(Err(words)) => return Some(Err(StoreError::Unavailable(words))),
                Some(Ok(length)) if self.at >= length => return None,
                _ => {}
            }
            if let Some(limit) = self.reader.0.readable(self.at, self.tail_too) {
                let length = self.end.map_or(limit, |end| end.min(limit)) - self.at;
                let file = std::sync::Arc::clone(&self.reader.0.file);
                let body = BlobFile { file, offset: self.at, length, held: None };
                self.span = Some(blob::stream(BlobBody::File(body), &self.buffers));
                continue;
            }
            // Other changes of the state are signs of tries, not of bytes.
            let more = self.state.wait_for(|state| progress(state) != before);
            if !matches!(tokio::time::timeout(self.patience, more).await, Ok(Ok(_))) {
                let words = format!("nothing of {} came for {:?}", self.reader.0.key.shown(), self.patience);
                return Some(Err(StoreError::Unavailable(words)));
            }
        }
    }
}

/// Progress that a reader may have waited for: bytes, leave for the last ones, or an end.
fn progress(state: &FillState) -> (u64, bool, bool, bool) {
    (state.extents.total(), state.released, state.complete, state.end.is_some())
}
