//! A request's body. How slow it may be is the core's business, and so is how large: it counts.

use std::time::Instant;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use futures_util::stream::{self, LocalBoxStream, StreamExt};

use crate::error::{Error, Kind, Result};
use crate::registry::{ByteSink, RateGuard, RateLimits, pump};

/// A request's body, chunk by chunk.
pub struct Body {
    payload: Payload,
    /// A chunk that was looked at already.
    first: Option<Bytes>,
    pace: RateGuard,
}

impl Body {
    /// Wraps a payload.
    pub fn new(payload: Payload, patience: RateLimits) -> Self {
        Self { payload, first: None, pace: RateGuard::new(patience, Instant::now()) }
    }

    /// Whether there is anything in it. Waits for the first byte.
    ///
    /// # Errors
    /// As [`Body::next`].
    pub async fn is_empty(&mut self) -> Result<bool> {
        if self.first.is_none() {
            self.first = self.next().await?;
        }
        Ok(self.first.is_none())
    }

    /// The first chunk, without taking it; `None` for an empty body. Waits for it.
    ///
    /// # Errors
    /// As [`Body::next`].
    pub async fn peek(&mut self) -> Result<Option<&Bytes>> {
        self.is_empty().await?;
        Ok(self.first.as_ref())
    }

    /// The chunks as a stream.
    pub fn chunks(&mut self) -> LocalBoxStream<'_, Result<Bytes>> {
        stream::unfold(self, async |body| Some((body.next().await.transpose()?, body))).fuse().boxed_local()
    }

    /// The next chunk that has bytes; `None` at a clean end.
    ///
    /// # Errors
    /// `Incomplete` when the body ends early or is malformed: never to be taken for its end. `TooSlow`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.first.take() {
            return Ok(Some(chunk));
        }
        self.pace.next(&mut self.payload, broken).await
    }

    /// Moves all of it into a sink. What ends it early ends that too.
    ///
    /// # Errors
    /// As [`Body::next`], and those of the sink.
    pub async fn fill(mut self, sink: &mut impl ByteSink) -> Result<()> {
        pump(self.first.take(), &mut self.payload, &mut self.pace, broken, sink).await
    }

    /// All of a small body.
    ///
    /// # Errors
    /// As [`Body::next`]; `TooLarge` for more than `bytes_max`.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            bytes.extend(chunk);
            if bytes.len() > bytes_max {
                return Err(Error::new(Kind::TooLarge, format!("A body of this kind has at most {bytes_max} bytes.")));
            }
        }
        Ok(bytes)
    }
}

fn broken(error: PayloadError) -> Error {
    Error::new(Kind::Incomplete, "The body ended before it was complete.").because(error.to_string())
}
