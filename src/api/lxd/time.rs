//! Times as LXD writes them.

use crate::image::Timestamp;

/// How "never" and "no time known" are written.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// A moment as LXD writes it: RFC 3339, in UTC.
pub fn time(moment: Timestamp) -> String {
    // Out of jiff's range (year 9999) there is nothing that a client could read.
    jiff::Timestamp::from_microsecond(moment.0).map_or_else(|_| NEVER.to_owned(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(Timestamp(1_795_238_731_000_042)), "2026-11-21T05:25:31.000042Z");
        assert_eq!(time(Timestamp(0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(Timestamp(i64::MAX)), NEVER);
    }
}
