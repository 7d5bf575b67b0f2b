//! Pace of a transfer, by what this process saw of it: bytes that were here before it looked are none of it. Values only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time that a rate is taken over: an old burst, or an old pause, says nothing about now.
const OVER: Duration = Duration::from_secs(10);

/// Shortest time that says something.
const SHORTEST: Duration = Duration::from_millis(500);

/// Shortest time between two observations that are kept.
const EVERY: Duration = Duration::from_millis(100);

/// Bytes of a transfer at the times at which they were seen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The first one is the base.
    seen: VecDeque<(Instant, u64)>,
    last: Option<(Instant, u64)>,
}

impl Pace {
    /// Takes note of how many bytes there are now. Fewer than before are those of another transfer.
    pub(super) fn see(&mut self, bytes: u64, now: Instant) {
        if self.last.is_some_and(|(_, before)| bytes < before) {
            self.seen.clear();
        }
        self.last = Some((now, bytes));
        if self.seen.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= EVERY) {
            self.seen.push_back((now, bytes));
        }
        // One that is old enough stays, as the base.
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= OVER) {
            self.seen.pop_front();
        }
    }

    /// Bytes in a second; `None` before there is something to tell it by.
    pub(super) fn rate(&self) -> Option<u64> {
        let ((began, base), (now, bytes)) = (self.seen.front()?, self.last?);
        let time = now.saturating_duration_since(*began);
        (time >= SHORTEST).then(|| ((bytes - base) as f64 / time.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Rates after each observation, of MiB at a time in milliseconds.
    fn rates(observed: &[(u64, u64)]) -> Vec<Option<u64>> {
        let (began, mut pace) = (Instant::now(), Pace::default());
        let see = |(at, mib): &(u64, u64)| {
            pace.see(mib * MIB, began + Duration::from_millis(*at));
            pace.rate().map(|rate| rate / MIB)
        };
        observed.iter().map(see).collect()
    }

    #[test]
    fn bytes_that_were_here_before_are_no_rate() {
        assert_eq!(rates(&[(0, 4096), (1, 4096), (1000, 4099), (2000, 4102)]), [None, None, Some(3), Some(3)]);
        assert_eq!(rates(&[(0, 0), (0, 7), (100, 8)]), [None; 3], "too short a time says nothing");
    }

    #[test]
    fn a_rate_is_of_the_last_seconds() {
        let steady: Vec<_> = (0..=30).map(|second| (second * 1000, second.min(5) * 10)).collect();
        let rates = rates(&steady);
        assert_eq!((rates[5], rates[30]), (Some(10), Some(0)), "{rates:?}");
        assert!(rates.windows(2).skip(5).all(|pair| pair[0] >= pair[1]), "{rates:?}");
    }

    #[test]
    fn another_transfer_begins_anew() {
        assert_eq!(rates(&[(0, 0), (1000, 50), (1010, 1), (2010, 5)]), [None, Some(50), None, Some(4)]);
    }
}
