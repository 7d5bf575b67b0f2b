//! Moments as texts, in the forms that clients write and read. All of them are in UTC.
//!
//! jiff knows moments up to the year 9999. After it, the number of microseconds replaces the text, except where a
//! client has its own text for that case ([`rfc_3339`]).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::fmt::strtime;
use jiff::tz::{Offset, TimeZone};

use crate::image::Timestamp;

fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_microsecond(at.0).ok()
}

/// `2026-11-21T05:25:31.000042Z`, with as many digits as the moment needs.
pub fn rfc_3339(at: Timestamp) -> Option<String> {
    moment(at).map(|at| at.to_string())
}

/// `2026-11-21T05:25:31Z`
pub fn to_the_second(at: Timestamp) -> String {
    let seconds = jiff::Timestamp::from_second(at.seconds()).ok();
    seconds.map_or_else(|| at.0.to_string(), |at| at.to_string())
}

/// `2026-11-21T05:25:31.000042Z`, always with six digits.
pub fn to_the_microsecond(at: Timestamp) -> String {
    formatted("%Y-%m-%dT%H:%M:%S%.6fZ", at).unwrap_or_else(|| at.0.to_string())
}

/// `2026-11-21T05:25:31.000042`: six digits, and no zone.
pub fn to_the_microsecond_without_zone(at: Timestamp) -> String {
    formatted("%Y-%m-%dT%H:%M:%S%.6f", at).unwrap_or_else(|| at.0.to_string())
}

/// Python's `isoformat`: no zone, and six digits or none.
pub fn python(at: Timestamp) -> String {
    let Some(moment) = moment(at) else { return at.0.to_string() };
    let moment = Offset::UTC.to_datetime(moment);
    let digits = if moment.subsec_nanosecond() == 0 { 0 } else { 6 };
    format!("{moment:.digits$}")
}

/// Ruby's `to_s`: `2012-06-15 21:05:20 +0000`.
pub fn ruby(at: Timestamp) -> String {
    let Some(moment) = moment(at) else { return at.0.to_string() };
    let moment = Offset::UTC.to_datetime(moment);
    let (day, clock) = (moment.date(), moment.time());
    let (year, month, date) = (day.year(), day.month(), day.day());
    // Written by hand, not by a format: every record has three of these.
    format!("{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} +0000", clock.hour(), clock.minute(), clock.second())
}

/// A moment in another form, as `strftime` describes it.
pub fn formatted(format: &str, at: Timestamp) -> Option<String> {
    moment(at).map(|at| at.strftime(format).to_string())
}

/// `Fri, 15 Jun 2012 20:05:20 GMT` (RFC 9110, section 5.6.7), to the second.
pub fn http_date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// Reads the seconds of a date in HTTP's forms.
pub fn read_http_date(text: &str) -> Option<i64> {
    let time = httpdate::parse_http_date(text).ok()?;
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

/// Reads RFC 3339, which has a zone.
pub fn read_rfc_3339(text: &str) -> Option<Timestamp> {
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| end_of_time(text))?;
    Some(Timestamp(at.as_microsecond()))
}

/// The last time that there is, for one in the days behind it, `9999-12-31T23:59:59Z` above all, which means "never".
fn end_of_time(text: &str) -> Option<jiff::Timestamp> {
    let is_last = text.starts_with("9999-12-3");
    let local = text.strip_suffix('Z').filter(|_| is_last)?.parse::<jiff::civil::DateTime>().ok()?;
    local.to_zoned(TimeZone::UTC).map_or(Some(jiff::Timestamp::MAX), |at| Some(at.timestamp()))
}

/// Reads the forms of ISO 8601. Without a zone, the text is UTC.
pub fn read_iso_8601(text: &str) -> Option<Timestamp> {
    read_rfc_3339(text).or_else(|| {
        let local = text.parse::<jiff::civil::DateTime>().ok()?;
        let zoned = local.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp(zoned.timestamp().as_microsecond()))
    })
}

/// Reads the whole second of a text in either of Ruby's forms, `… +0000` and `… UTC`.
pub fn read_ruby(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(" UTC").map_or_else(|| text.to_owned(), |time| format!("{time} +0000"));
    let parsed = strtime::parse("%Y-%m-%d %H:%M:%S %z", &text).ok()?.to_timestamp().ok()?;
    Some(Timestamp(parsed.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp(1_795_238_731_000_042);
    const SECOND: Timestamp = Timestamp(1_795_238_731_000_000);
    const NEVER: Timestamp = Timestamp(i64::MAX);

    #[test]
    fn the_last_day_is_the_last_time() {
        let last = Timestamp(jiff::Timestamp::MAX.as_microsecond());
        assert_eq!(read_rfc_3339("9999-12-31T23:59:59Z"), Some(last));
        assert_eq!(read_rfc_3339("9999-12-31T23:59:59.999999999Z"), Some(last));
        for wrong in ["9999-12-32T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59", "10000-01-01T00:00:00Z"] {
            assert_eq!(read_rfc_3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_form_is_written_as_its_clients_read_it() {
        type Write = fn(Timestamp) -> String;
        let forms: [(Write, &str, &str); 5] = [
            (to_the_second, "2026-11-21T05:25:31Z", "2026-11-21T05:25:31Z"),
            (to_the_microsecond, "2026-11-21T05:25:31.000042Z", "2026-11-21T05:25:31.000000Z"),
            (to_the_microsecond_without_zone, "2026-11-21T05:25:31.000042", "2026-11-21T05:25:31.000000"),
            (python, "2026-11-21T05:25:31.000042", "2026-11-21T05:25:31"),
            (ruby, "2026-11-21 05:25:31 +0000", "2026-11-21 05:25:31 +0000"),
        ];
        for (write, fine, whole) in forms {
            assert_eq!((write(AT).as_str(), write(SECOND).as_str()), (fine, whole));
            assert_eq!(write(NEVER), i64::MAX.to_string());
        }
        assert_eq!(python(Timestamp(1_795_246_208_100_000)), "2026-11-21T07:30:08.100000");
        assert_eq!(rfc_3339(AT).as_deref(), Some("2026-11-21T05:25:31.000042Z"));
        assert_eq!(rfc_3339(Timestamp(0)).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(rfc_3339(NEVER), None);
        assert_eq!(formatted("%Y%m%d_%H:%M", AT).as_deref(), Some("20261121_05:25"));
    }

    #[test]
    fn every_form_that_clients_send_is_read() {
        for text in ["2026-11-21T05:25:31Z", "2026-11-21T05:25:31", "2026-11-21 05:25:31", "2026-11-21T06:25:31+01:00"]
        {
            assert_eq!(read_iso_8601(text), Some(SECOND), "{text}");
        }
        assert_eq!(read_rfc_3339("2026-11-21T05:25:31"), None);
        assert_eq!(to_the_second(read_iso_8601("2026-11-21T04:10:08.5Z").unwrap()), "2026-11-21T04:10:08Z");
        assert_eq!(read_iso_8601("2026-11-21"), read_iso_8601("2026-11-21T00:00:00Z"));
        assert!(read_iso_8601("2026-11-21").is_some());
        assert_eq!(ruby(Timestamp(1_339_794_320_123_456)), "2012-06-15 21:05:20 +0000");
        let second = Some(Timestamp(1_339_794_320_000_000));
        for text in ["2012-06-15 21:05:20 +0000", "2012-06-15 22:05:20 +0100", "2012-06-15 21:05:20 UTC"] {
            assert_eq!(read_ruby(text), second, "{text}");
        }
        assert_eq!(
            (read_ruby("yesterday"), read_iso_8601("yesterday"), read_http_date("yesterday")),
            (None, None, None)
        );
        let date = "Fri, 15 Jun 2012 20:05:20 GMT";
        assert_eq!(read_http_date(date).map(http_date).as_deref(), Some(date));
    }
}
