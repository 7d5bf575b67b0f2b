//! Counts of tries with wrong keys, which stop further tries. Kept in memory, for a minute.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Kind, Result};
use crate::image::Timestamp;

/// Wrong tries from one address for one account within a window.
const TRIES_MAX: u32 = 20;

/// Time for which tries are remembered.
const WINDOW_US: i64 = 60 * 1_000_000;

/// Addresses and accounts that are remembered at most.
const ENTRIES_MAX: usize = 4096;

/// An address and an account: tries are counted for both together, so that a client cannot lock out the account's
/// owner at another address.
pub type Try = (Option<IpAddr>, String);

/// The tries of late.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<HashMap<Try, (Timestamp, u32)>>);

impl Attempts {
    /// Counts a try before it is made, so that many at once count as many.
    ///
    /// # Errors
    /// `Busy` when there were too many.
    pub fn begin(&self, who: &Try, now: Timestamp) -> Result<()> {
        let mut tries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |began: Timestamp| (0..WINDOW_US).contains(&now.0.saturating_sub(began.0));
        if tries.len() >= ENTRIES_MAX && !tries.contains_key(who) {
            tries.retain(|_, (began, _)| fresh(*began));
            // A client that fills this up has made thousands of requests for a few tries more.
            if tries.len() >= ENTRIES_MAX {
                tries.clear();
            }
        }
        let (began, count) = tries.entry(who.clone()).or_insert((now, 0));
        if !fresh(*began) {
            (*began, *count) = (now, 0);
        }
        if *count >= TRIES_MAX {
            return Err(Error::new(Kind::Busy, "Too many wrong tries; wait a minute."));
        }
        *count += 1;
        Ok(())
    }

    /// A try that was right: those before it are forgiven.
    pub fn succeeded(&self, who: &Try) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str) -> Try {
        (Some([10, 0, 0, 1].into()), name.to_owned())
    }

    const NOW: Timestamp = Timestamp(1_000_000_000);

    fn later(seconds: i64) -> Timestamp {
        Timestamp(NOW.0 + seconds * 1_000_000)
    }

    #[test]
    fn trying_on_ends_for_a_minute() {
        let attempts = Attempts::default();
        for _ in 0..TRIES_MAX {
            attempts.begin(&who("alice"), NOW).unwrap();
        }
        assert_eq!(attempts.begin(&who("alice"), later(59)).unwrap_err().kind(), Kind::Busy);
        attempts.begin(&who("bob"), NOW).unwrap();
        attempts.begin(&(None, "alice".into()), NOW).unwrap();
        attempts.begin(&who("alice"), later(60)).unwrap();
        attempts.begin(&who("alice"), later(-1_000_000)).unwrap();
    }

    #[test]
    fn a_right_try_forgives_wrong_ones() {
        let attempts = Attempts::default();
        for _ in 0..TRIES_MAX * 3 {
            attempts.begin(&who("alice"), NOW).unwrap();
            attempts.succeeded(&who("alice"));
        }
    }

    #[test]
    fn it_remembers_so_many_and_no_more() {
        let attempts = Attempts::default();
        for number in 0..ENTRIES_MAX * 2 {
            attempts.begin(&who(&number.to_string()), NOW).unwrap();
            assert!(attempts.0.lock().unwrap().len() <= ENTRIES_MAX);
        }
    }
}
