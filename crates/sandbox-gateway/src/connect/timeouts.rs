//! How long a client waits, and how often it wants to hear that a silent stream lives.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::error::{Code, ConnectError};

const TIMEOUT: &str = "connect-timeout-ms";
const KEEPALIVE: &str = "keepalive-ping-interval";
/// The keepalive interval of a client that names none.
const DEFAULT_KEEPALIVE: Duration = Duration::from_secs(90);
/// The longest number of digits of a timeout, by the protocol.
const MAX_DIGITS: usize = 10;

/// When the client's patience with a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    /// How long the client waits from now.
    pub(crate) timeout: Duration,
    /// When that is over.
    pub(crate) at: Instant,
}

impl Deadline {
    /// Reads the header `Connect-Timeout-Ms`.
    ///
    /// # Errors
    ///
    /// If it is not a number of at most ten digits.
    pub(crate) fn parse(headers: &HeaderMap) -> Result<Option<Self>, ConnectError> {
        let Some(value) = headers.get(TIMEOUT) else {
            return Ok(None);
        };
        let milliseconds = parse_digits(value.as_bytes()).ok_or_else(|| {
            ConnectError::invalid(
                "the header Connect-Timeout-Ms must be a number of at most 10 digits",
            )
        })?;
        let timeout = Duration::from_millis(milliseconds);
        // The largest number of ten digits is 116 days, which no clock overflows at.
        let at = Instant::now() + timeout;
        Ok(Some(Self { timeout, at }))
    }

    /// The error that says it has passed.
    pub(crate) fn exceeded(self) -> ConnectError {
        let message = format!("the timeout of {:?} has elapsed", self.timeout);
        ConnectError::new(Code::DeadlineExceeded, message)
    }
}

/// Reads the header `Keepalive-Ping-Interval`, in seconds. What is no positive number counts as absent, as with E2B.
pub(crate) fn keepalive_interval(headers: &HeaderMap) -> Duration {
    headers
        .get(KEEPALIVE)
        .and_then(|value| parse_digits(value.as_bytes()))
        .filter(|seconds| *seconds > 0)
        .map_or(DEFAULT_KEEPALIVE, Duration::from_secs)
}

fn parse_digits(value: &[u8]) -> Option<u64> {
    let is_number = value.len() <= MAX_DIGITS && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_number)
        .and_then(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(
            http::HeaderName::from_static(name),
            value.parse::<http::HeaderValue>().unwrap(),
        )])
    }

    #[tokio::test(start_paused = true)]
    async fn timeouts_are_milliseconds() {
        assert_eq!(Deadline::parse(&HeaderMap::new()).unwrap(), None);
        let deadline = Deadline::parse(&headers(TIMEOUT, "60000"))
            .unwrap()
            .unwrap();
        assert_eq!(deadline.timeout, Duration::from_secs(60));
        assert_eq!(deadline.at, Instant::now() + Duration::from_secs(60));
        assert!(Deadline::parse(&headers(TIMEOUT, "9999999999")).is_ok());
        for invalid in ["", "-1", "+1", "1.5", "10000000000", "1s", " 1"] {
            let error = Deadline::parse(&headers(TIMEOUT, invalid)).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{invalid:?}");
        }
    }

    #[test]
    fn keepalives_are_seconds() {
        let cases = [("50", 50), ("0", 90), ("x", 90), ("99999999999", 90)];
        for (value, seconds) in cases {
            let interval = keepalive_interval(&headers(KEEPALIVE, value));
            assert_eq!(interval, Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(keepalive_interval(&HeaderMap::new()), DEFAULT_KEEPALIVE);
    }
}
