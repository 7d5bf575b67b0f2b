//! Pauses between requests: how many there may be and how long each is, and the listeners that are told of them. Values only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::error::FetchError;

/// Bounds on repeated requests.
#[derive(Debug, Clone, Copy)]
pub struct Retries {
    /// Requests that may fail in a row.
    pub tries: u32,
    /// Requests for one thing, at most.
    pub requests_max: u32,
    /// Pause after the first failure; each further one is twice as long.
    pub pause: Duration,
    /// Longest pause. A server that asks for a longer one is not asked again.
    pub pause_max: Duration,
    /// Time after the first failure in a row in which another request is sent.
    pub time_max: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            tries: 5,
            requests_max: 64,
            pause: Duration::from_millis(500),
            pause_max: Duration::from_secs(60),
            time_max: Duration::from_secs(180),
        }
    }
}

/// The count of failures, and the pauses after them.
#[derive(Debug)]
pub struct Backoff {
    rules: Retries,
    failures: u32,
    in_all: u32,
    since: Option<Instant>,
}

impl Backoff {
    /// No failure yet.
    pub fn new(rules: Retries) -> Self {
        Self { rules, failures: 0, in_all: 0, since: None }
    }

    /// Counts a failure. Returns the pause before the next request, unless there is to be none. `asked` is the pause that the
    /// server asks for.
    pub fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        (self.failures, self.in_all) = (self.failures + 1, self.in_all + 1);
        let doubled = self.rules.pause.saturating_mul(1 << (self.failures - 1).min(16));
        let pause = doubled.min(self.rules.pause_max).max(asked.unwrap_or_default());
        let may = self.failures < self.rules.tries
            && self.in_all < self.rules.requests_max
            && pause <= self.rules.pause_max
            && since.elapsed() + pause <= self.rules.time_max;
        may.then_some(pause)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.in_all > 0
    }

    /// Tells whether the last failure was not the first.
    pub(super) fn failed_before(&self) -> bool {
        self.in_all > 1
    }

    /// Forgets failures in a row: the transfer goes on.
    pub fn forget(&mut self) {
        (self.failures, self.since) = (0, None);
    }
}

/// Events between the requests of a transfer.
#[derive(Debug)]
pub enum RetryEvent<'a> {
    /// A request failed, and another one follows after this pause.
    Pause(&'a FetchError, Duration),
    /// Bytes come again.
    Going,
}

/// A listener to [`RetryEvent`]s.
#[derive(Clone)]
pub struct OnRetry(Arc<dyn Fn(RetryEvent<'_>) + Send + Sync>);

impl fmt::Debug for OnRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRetry")
    }
}

impl OnRetry {
    pub(super) fn new(listener: impl Fn(RetryEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listener))
    }

    pub(super) fn tell(&self, event: RetryEvent<'_>) {
        (self.0)(event);
    }
}
