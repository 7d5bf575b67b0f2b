//! Bounds on the speed of incoming bytes: silence and slowness end a transfer, from any sender.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;

use crate::error::{Error, Reason, Result};

/// Bounds on the speed of incoming bytes.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// Longest silence, and the time over which the rate is measured.
    pub idle: Duration,
    /// Slowest rate, in bytes a second.
    pub bytes_per_second_min: u64,
}

/// A meter that reports bytes that arrive too slowly.
#[derive(Debug)]
pub struct RateGuard {
    patience: RateLimits,
    window_began: Instant,
    window_bytes: u64,
}

impl RateGuard {
    /// Starts measuring.
    pub fn new(patience: RateLimits, now: Instant) -> Self {
        Self { patience, window_began: now, window_bytes: 0 }
    }

    /// Counts received bytes. False when the last window was too slow.
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

    /// The next chunk of a stream; `None` at its clean end.
    ///
    /// # Errors
    /// `TooSlow`, and the stream's error as converted by `broken`.
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

/// The refusal of a stalled or slow transfer.
pub fn too_slow() -> Error {
    Reason::TooSlow.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dripping_bytes_do_not_keep_up() {
        let patience = RateLimits { idle: Duration::from_secs(10), bytes_per_second_min: 100 };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut pace = RateGuard::new(patience, start);
        assert!((1..10).all(|second| pace.keeps_up(1, after(second))), "a window is judged at its end");
        assert!(!pace.keeps_up(1, after(10)));
        let mut pace = RateGuard::new(patience, start);
        assert!(pace.keeps_up(1000, after(1)) && pace.keeps_up(0, after(10)));
        assert!(!pace.keeps_up(999, after(20)), "each window has to be fast enough");
    }
}
