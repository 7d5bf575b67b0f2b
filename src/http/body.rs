//! A request's body, with the bounds that actix-web leaves to the application: silence and slowness end it. How large
//! it may be is decided by the core, while it counts.

use std::time::{Duration, Instant};

use actix_web::web::{Bytes, Payload};
use futures_util::StreamExt;

use crate::error::{Error, Kind, Result};

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

    /// Longest silence.
    pub fn idle(&self) -> Duration {
        self.patience.idle
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
}

/// A request's body, chunk by chunk.
pub struct Body {
    payload: Payload,
    /// A chunk that was looked at already.
    first: Option<Bytes>,
    pace: Pace,
    patience: Patience,
}

impl Body {
    /// Wraps a payload.
    pub fn new(payload: Payload, patience: Patience) -> Self {
        Self { payload, first: None, pace: Pace::new(patience, Instant::now()), patience }
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
        loop {
            match tokio::time::timeout(self.patience.idle, self.payload.next()).await {
                Err(_) => return Err(too_slow()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    let text = "The body ended before it was complete.";
                    return Err(Error::new(Kind::Incomplete, text).because(error.to_string()));
                }
                Ok(Some(Ok(chunk))) => {
                    if !self.pace.keeps_up(chunk.len(), Instant::now()) {
                        return Err(too_slow());
                    }
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
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
