//! Times as E2B's SDKs read and write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// A time as RFC 3339 text in UTC, to the microsecond, which is as precise as Python's clocks.
pub(super) fn format_time(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

/// Reads RFC 3339 text, with `Z` or an offset.
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// Microseconds since 1970. Times before count as 1970.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The time so many microseconds after 1970, and at most the year 9999.
pub(super) fn from_micros(micros: u64) -> SystemTime {
    const END: u64 = 253_402_300_799_000_000;
    UNIX_EPOCH + Duration::from_micros(micros.min(END))
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    micros(time) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_microseconds() {
        let time = from_micros(1_790_000_000_123_456);
        assert_eq!(format_time(time), "2026-09-21T14:13:20.123456Z");
        assert_eq!(parse_time(&format_time(time)), Some(time));
        assert_eq!(parse_time("2026-09-21T16:13:20.123456+02:00"), Some(time));
        assert_eq!(micros(time), 1_790_000_000_123_456);
        assert_eq!(parse_time("yesterday"), None);
        assert!(format_time(from_micros(u64::MAX)).starts_with("9999-"));
    }
}
