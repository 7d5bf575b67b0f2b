//! Watches over the bytes of an answer: that they do not stop coming, and are as many as was announced.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use reqwest::Url;

use super::error::{FetchError, redacted};

/// A body under watch.
pub(super) struct Watch {
    pub(super) body: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Bytes still to come, if that is known.
    pub(super) left: Option<u64>,
    pub(super) idle_timeout: Duration,
    pub(super) url: Url,
}

impl Watch {
    /// The stream of what passes; an error is the last thing in it.
    pub(super) fn stream(self) -> BoxStream<'static, Result<Bytes, FetchError>> {
        let pieces = stream::unfold(Some(self), |watch| async move {
            let mut watch = watch?;
            let piece = watch.next().await?;
            let watch = piece.is_ok().then_some(watch);
            Some((piece, watch))
        });
        pieces.fuse().boxed()
    }

    async fn next(&mut self) -> Option<Result<Bytes, FetchError>> {
        let Ok(piece) = tokio::time::timeout(self.idle_timeout, self.body.next()).await else {
            let text = format!("{}: nothing came for {:?}", redacted(&self.url), self.idle_timeout);
            return Some(Err(FetchError::TimedOut(text)));
        };
        match (piece, self.left) {
            (Some(Err(error)), _) => Some(Err(FetchError::from_body(error, &self.url))),
            (Some(Ok(piece)), None) => Some(Ok(piece)),
            (Some(Ok(piece)), Some(left)) => {
                self.left = left.checked_sub(piece.len() as u64);
                Some(if self.left.is_some() { Ok(piece) } else { Err(self.wrong_length("more bytes than announced")) })
            }
            (None, None | Some(0)) => None,
            (None, Some(left)) => Some(Err(self.wrong_length(format_args!("{left} bytes are missing")))),
        }
    }

    fn wrong_length(&self, what: impl fmt::Display) -> FetchError {
        FetchError::WrongLength(format!("{}: {what}", redacted(&self.url)))
    }
}
