//! Bounds on the speed of incoming bytes: silence and slowness end a transfer, from any sender. A source that pauses on
//! purpose, to ask another server again, is not silent.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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

/// The pauses of a source, which bounds them itself. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Pauses(Arc<PauseState>);

#[derive(Debug, Default)]
struct PauseState {
    now: AtomicBool,
    begun: AtomicU64,
}

impl Pauses {
    /// Begins a pause.
    pub fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        self.0.now.store(true, Ordering::Release);
    }

    /// Ends the pause: bytes come again.
    pub fn end(&self) {
        self.0.now.store(false, Ordering::Release);
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Acquire)
    }

    /// Tells whether there was a pause since `before` had begun.
    fn excuse(&self, before: u64) -> bool {
        self.0.now.load(Ordering::Acquire) || self.begun() != before
    }

    /// Waits for a source, which may be silent for `idle` beside its pauses.
    ///
    /// # Errors
    /// `TooSlow`.
    pub async fn wait_for<T>(&self, idle: Duration, source: impl Future<Output = T>) -> Result<T> {
        let mut source = pin!(source);
        loop {
            let before = self.begun();
            match timeout(idle, &mut source).await {
                Ok(found) => return Ok(found),
                Err(_) if self.excuse(before) => {}
                Err(_) => return Err(too_slow()),
            }
        }
    }
}

/// A meter that reports bytes that arrive too slowly.
#[derive(Debug)]
pub struct RateGuard {
    patience: RateLimits,
    pauses: Pauses,
    window_began: Instant,
    window_bytes: u64,
}

impl RateGuard {
    /// Starts measuring.
    pub fn new(patience: RateLimits, now: Instant) -> Self {
        Self { patience, pauses: Pauses::default(), window_began: now, window_bytes: 0 }
    }

    /// This meter, for a source with these pauses: none of them counts.
    pub fn excusing(self, pauses: &Pauses) -> Self {
        Self { pauses: pauses.clone(), ..self }
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
            let before = self.pauses.begun();
            let Some(chunk) = self.pauses.wait_for(self.patience.idle, stream.next()).await? else {
                return Ok(None);
            };
            let chunk = chunk.map_err(&broken)?;
            if self.pauses.excuse(before) {
                (self.window_began, self.window_bytes) = (Instant::now(), 0);
            }
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

    /// A source that pauses on purpose has its own bound; the same silence without a pause is too much.
    #[tokio::test]
    async fn a_pause_is_no_silence() {
        let idle = Duration::from_millis(20);
        let limits = RateLimits { idle, bytes_per_second_min: 1 << 40 };
        for announced in [true, false] {
            let pauses = Pauses::default();
            let source = pauses.clone();
            let late = futures_util::stream::once(async move {
                if announced {
                    source.begin();
                }
                tokio::time::sleep(idle * 4).await;
                source.end();
                Ok::<_, Error>(Bytes::from_static(b"x"))
            });
            let mut rate = RateGuard::new(limits, Instant::now()).excusing(&pauses);
            let got = rate.next(&mut std::pin::pin!(late), |error| error).await;
            assert_eq!(got.is_ok_and(|chunk| chunk.is_some()), announced);
        }
    }

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
