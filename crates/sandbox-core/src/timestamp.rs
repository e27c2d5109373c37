//! Points in time as RFC 3339 text, for people and for JSON: `#[serde(with = …)]`.

use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Formats a point in time as RFC 3339 text in UTC, to the millisecond: `2026-01-31T12:00:00.000Z`.
/// Times after the year 9999 are shown as the last moment of that year.
///
/// ```
/// use std::time::SystemTime;
///
/// assert_eq!(sandbox_core::rfc3339(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
/// ```
pub fn rfc3339(time: SystemTime) -> String {
    let stamp = jiff::Timestamp::try_from(time).unwrap_or(jiff::Timestamp::MAX);
    format!("{stamp:.3}")
}

pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<jiff::Timestamp>()
        .map(SystemTime::from)
        .map_err(D::Error::custom)
}

/// The same for an optional time.
pub(crate) mod option {
    use super::{Deserialize, Deserializer, Serializer, SystemTime};

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<SystemTime>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SystemTime>, D::Error> {
        #[derive(Deserialize)]
        struct Time(#[serde(with = "super")] SystemTime);
        Ok(Option::<Time>::deserialize(deserializer)?.map(|Time(time)| time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_format_is_rfc_3339_in_utc() {
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_millis(1_500)),
            "1970-01-01T00:00:01.500Z"
        );
        assert!(rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 40)).starts_with("9999-12-30"));
    }
}
