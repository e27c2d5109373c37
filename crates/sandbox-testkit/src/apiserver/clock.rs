//! The server's clock. It advances with tokio's clock, which tests can pause.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio::time::Instant;

pub(super) struct Clock {
    start: SystemTime,
    /// When the clock was first read.
    since: Option<Instant>,
}

/// A time in 2031, so that a client fails that uses another clock.
const START: Duration = Duration::from_secs(1_930_000_000);

impl Default for Clock {
    fn default() -> Self {
        Self {
            start: UNIX_EPOCH + START,
            since: None,
        }
    }
}

impl Clock {
    pub(super) fn current_time(&mut self) -> SystemTime {
        let now = Instant::now();
        self.start + now.saturating_duration_since(*self.since.get_or_insert(now))
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.start += time;
    }

    pub(super) fn turn_back(&mut self, time: Duration) {
        self.start -= time;
    }
}

/// Formats a time for the header `Date`.
pub(super) fn http_date(time: SystemTime) -> String {
    let text = Timestamp::try_from(time)
        .and_then(|at| DateTimePrinter::new().timestamp_to_rfc9110_string(&at));
    text.unwrap_or_default()
}

/// Formats a time for an object: in whole seconds.
pub(super) fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let at = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}
