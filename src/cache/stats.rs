//! Counters of the cache.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hosts whose failures are counted one by one: the first ones, so that no series ends before its server does.
const HOSTS_MAX: usize = 100;

/// Counters and sums, for status pages and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Requests by result: `hit`, `stale`, `fill`, `follow`, `side`, `revalidated`, `offline`, `passed`, `refused`.
    pub requests: BTreeMap<&'static str, u64>,
    /// Bytes by source: `cache`, `upstream`, `parent`.
    pub bytes: BTreeMap<&'static str, u64>,
    /// Transfers in progress.
    pub fills: u64,
    /// Transfers that ended well.
    pub filled: u64,
    /// Time that these took together.
    pub fill_time: Duration,
    /// Failures by host and kind.
    pub upstream_errors: BTreeMap<(String, &'static str), u64>,
    /// Hosts that can't be used at the moment.
    pub hosts_dead: u64,
    /// Files by the level that they reached.
    pub verified: BTreeMap<&'static str, u64>,
    /// Bytes in quarantine.
    pub quarantine_bytes: u64,
    /// Bytes that were removed for room, by reason.
    pub evicted_bytes: BTreeMap<&'static str, u64>,
    /// Bytes of all files of the cache.
    pub used_bytes: u64,
    /// Bytes that they may have.
    pub budget_bytes: Option<u64>,
    /// Whole files.
    pub entries: u64,
    /// Whole files that are never removed for room.
    pub pinned: u64,
}

/// Counters that only grow.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<CacheStats>);

impl Counters {
    /// Counts.
    pub(super) fn count(&self, count: impl FnOnce(&mut CacheStats)) {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Counts a request.
    pub(super) fn request(&self, result: &'static str) {
        self.count(|stats| *stats.requests.entry(result).or_default() += 1);
    }

    /// Counts bytes from a source.
    pub(super) fn bytes(&self, source: &'static str, bytes: u64) {
        self.count(|stats| *stats.bytes.entry(source).or_default() += bytes);
    }

    /// Counts a failure of a host.
    pub(super) fn failure(&self, host: &str, kind: &'static str) {
        self.count(|stats| {
            let hosts: BTreeSet<&str> = stats.upstream_errors.keys().map(|(host, _)| host.as_str()).collect();
            let host = if hosts.contains(host) || hosts.len() < HOSTS_MAX { host } else { "other" };
            *stats.upstream_errors.entry((host.to_owned(), kind)).or_default() += 1;
        });
    }

    pub(super) fn read(&self) -> CacheStats {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hosts_are_counted_one_by_one_and_the_rest_together() {
        let counters = Counters::default();
        for number in 0..HOSTS_MAX + 10 {
            counters.failure(&format!("host-{number}.example"), "status");
        }
        counters.failure("host-0.example", "unreached");
        let errors = counters.read().upstream_errors;
        assert_eq!(errors.len(), HOSTS_MAX + 2);
        assert_eq!(errors[&("other".to_owned(), "status")], 10);
        assert_eq!(errors[&("host-0.example".to_owned(), "unreached")], 1);
    }
}
