//! A request's body. The limits of its speed and size are the core's.

use std::time::Instant;

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use futures_util::stream::{self, LocalBoxStream, StreamExt};

use crate::error::{Error, Reason, Result};
use crate::registry::{ByteSink, RateGuard, RateLimits, pump};

/// A request's body, chunk by chunk.
pub struct Body {
    payload: Payload,
    /// A chunk that `peek` has read.
    first: Option<Bytes>,
    pace: RateGuard,
}

impl Body {
    /// Wraps a payload.
    pub fn new(payload: Payload, patience: RateLimits) -> Self {
        Self { payload, first: None, pace: RateGuard::new(patience, Instant::now()) }
    }

    /// Tells whether the body is empty. Waits for the first byte.
    ///
    /// # Errors
    /// As [`Body::next`].
    pub async fn is_empty(&mut self) -> Result<bool> {
        if self.first.is_none() {
            self.first = self.next().await?;
        }
        Ok(self.first.is_none())
    }

    /// The first chunk, which stays in the body; `None` for an empty body. Waits for it.
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
    /// `Incomplete` when the body ends early or is malformed, which is never taken for its end. `TooSlow`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.first.take() {
            return Ok(Some(chunk));
        }
        self.pace.next(&mut self.payload, broken).await
    }

    /// Moves the whole body into a sink. A body that ends early ends the sink early too.
    ///
    /// # Errors
    /// As [`Body::next`], and those of the sink.
    pub async fn fill(mut self, sink: &mut impl ByteSink) -> Result<()> {
        pump(self.first.take(), &mut self.payload, &mut self.pace, broken, sink).await
    }

    /// Reads a small body whole.
    ///
    /// # Errors
    /// As [`Body::next`]; `TooLarge` for more than `bytes_max`.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.next().await? {
            bytes.extend(chunk);
            if bytes.len() > bytes_max {
                return Err(Reason::BodyTooLarge
                    .saying(format!("The body of this request may have at most {bytes_max} bytes.")));
            }
        }
        Ok(bytes)
    }
}

fn broken(error: PayloadError) -> Error {
    Error::from(Reason::BodyIncomplete).because(error.to_string())
}
