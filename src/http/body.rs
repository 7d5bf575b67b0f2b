//! A request's body, with the bounds that actix-web leaves to the application: silence and slowness end it. How large
//! it may be is decided by the core, while it counts.

use std::time::{Duration, Instant};

use actix_web::error::PayloadError;
use actix_web::web::{Bytes, Payload};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::registry::Upload;

/// How patient to be with a body.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Longest silence, and the time over which the rate is judged.
    pub idle: Duration,
    /// Slowest rate, in bytes a second.
    pub bytes_per_second_min: u64,
}

/// A meter that says when a body comes too slowly.
#[derive(Debug)]
pub struct Pace {
    patience: Patience,
    window_began: Instant,
    window_bytes: u64,
}

impl Pace {
    /// Starts measuring.
    pub fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, window_began: now, window_bytes: 0 }
    }

    /// Counts bytes that came. False when the last window was too slow.
    pub fn keeps_up(&mut self, bytes: usize, now: Instant) -> bool {
        self.window_bytes += bytes as u64;
        let passed = now.duration_since(self.window_began);
        if passed < self.patience.idle {
            return true;
        }
        let expected = self.patience.bytes_per_second_min.saturating_mul(passed.as_secs());
        let enough = self.window_bytes >= expected;
        self.window_began = now;
        self.window_bytes = 0;
        enough
    }

    /// The next chunk of a stream that has bytes; `None` at its clean end.
    ///
    /// # Errors
    /// `TooSlow`, and what `broken` makes of the stream's own.
    pub async fn next<E>(
        &mut self,
        stream: &mut (impl Stream<Item = std::result::Result<Bytes, E>> + Unpin),
        broken: impl Fn(E) -> Error,
    ) -> Result<Option<Bytes>> {
        loop {
            let Some(chunk) = timeout(self.patience.idle, stream.next()).await.map_err(|_| too_slow())? else {
                return Ok(None);
            };
            let chunk = chunk.map_err(&broken)?;
            if !self.keeps_up(chunk.len(), Instant::now()) {
                return Err(too_slow());
            }
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }
}

/// A request's body, chunk by chunk.
pub struct Body {
    payload: Payload,
    /// A chunk that was looked at already.
    first: Option<Bytes>,
    pace: Pace,
}

impl Body {
    /// Wraps a payload.
    pub fn new(payload: Payload, patience: Patience) -> Self {
        Self { payload, first: None, pace: Pace::new(patience, Instant::now()) }
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

    /// The next chunk that has bytes; `None` at a clean end.
    ///
    /// # Errors
    /// `Incomplete` when the body ends early or is malformed: never to be taken for its end. `TooSlow`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.first.take() {
            return Ok(Some(chunk));
        }
        let broken = |error: PayloadError| {
            Error::new(Kind::Incomplete, "The body ended before it was complete.").because(error.to_string())
        };
        self.pace.next(&mut self.payload, broken).await
    }

    /// Feeds all of it into an upload. What ends it early ends the upload too.
    ///
    /// # Errors
    /// As [`Body::next`] and [`Upload::write`].
    pub async fn fill(mut self, mut upload: Upload) -> Result<Upload> {
        loop {
            match self.next().await {
                Ok(Some(chunk)) => upload.write(chunk).await?,
                Ok(None) => return Ok(upload),
                Err(error) => {
                    upload.abandon().await;
                    return Err(error);
                }
            }
        }
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

/// The answer to a body that does not come.
pub fn too_slow() -> Error {
    Error::new(Kind::TooSlow, "The body came too slowly.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dripping_bytes_do_not_keep_up() {
        let patience = Patience { idle: Duration::from_secs(10), bytes_per_second_min: 100 };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = Pace::new(patience, start);
        assert!((1..10).all(|second| pace.keeps_up(1, after(second))), "a window is judged at its end");
        assert!(!pace.keeps_up(1, after(10)));
        let mut pace = Pace::new(patience, start);
        assert!(pace.keeps_up(1000, after(1)) && pace.keeps_up(0, after(10)));
        assert!(!pace.keeps_up(999, after(20)), "each window has to be fast enough");
    }
}
