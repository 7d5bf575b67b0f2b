//! The time: of the machine, or of a test; detects a machine clock that was reset. Knows no images.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::image::Timestamp;

const DAY_US: i64 = 86_400 * 1_000_000;

/// A source of the time. Tests have their own.
pub type Clock = fn() -> Timestamp;

/// The time of the machine.
pub fn system_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 was never set; nothing here depends on its being right.
    Timestamp(since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
}

/// The machine's clock at the last check, beside a monotonic one.
#[derive(Debug, Default)]
pub(in crate::registry) struct ClockWatch(Mutex<Option<(Instant, Timestamp)>>);

impl ClockWatch {
    /// Tells if the clock advanced as far as time did, within a day. A clock that was reset is trusted from the next
    /// check on.
    pub(in crate::registry) fn is_steady(&self, now: Timestamp) -> bool {
        let then = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace((Instant::now(), now));
        then.is_none_or(|(instant, then)| {
            let passed = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
            now.0.saturating_sub(then.0).saturating_sub(passed).saturating_abs() < DAY_US
        })
    }
}
