//! `google.protobuf.Timestamp`: RFC 3339 in UTC.

use jiff::Timestamp;
use serde::Serializer;

/// Writes nanoseconds since the Unix epoch as RFC 3339 text. A time that the format cannot express becomes the nearest one
/// that it can: a file's time is chosen in a sandbox.
///
/// # Errors
///
/// Those of the serializer.
pub(crate) fn serialize<S: Serializer>(nanos: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*nanos))
}

/// Formats nanoseconds since the Unix epoch.
pub(crate) fn format(nanos: i64) -> String {
    // 64 bits of nanoseconds are the years 1677 to 2262, which all are in range.
    Timestamp::from_nanosecond(i128::from(nanos))
        .unwrap_or_default()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_at_most_nine_digits() {
        let cases = [
            (0, "1970-01-01T00:00:00Z"),
            (1_500_000_000, "1970-01-01T00:00:01.5Z"),
            (1_764_424_800_123_456_789, "2025-11-29T14:00:00.123456789Z"),
            (-1_000_000_000, "1969-12-31T23:59:59Z"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(format(nanos), expected);
        }
        assert!(format(i64::MAX).starts_with("2262-"));
        assert!(format(i64::MIN).starts_with("1677-"));
    }
}
