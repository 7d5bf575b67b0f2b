//! Moments in LXD's form: RFC 3339, in UTC.

use crate::http::time::rfc_3339;
use crate::image::Timestamp;

/// LXD's text for "never" and for "no time known".
pub(super) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Writes a moment. Beyond jiff's range (year 9999) no client could read it.
pub(super) fn time(moment: Timestamp) -> String {
    rfc_3339(moment).unwrap_or_else(|| NEVER.to_owned())
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
