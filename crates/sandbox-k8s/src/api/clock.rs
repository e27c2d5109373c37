//! The API server's clock. Sandboxes expire by this clock only, so that the clocks of clients do not matter.

use std::sync::Mutex;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::DATE;
use tokio::time::Instant;

use crate::lock::lock;

/// The date of the last response, and when it arrived.
#[derive(Debug, Default)]
pub(crate) struct ServerClock(Mutex<Option<(SystemTime, Instant)>>);

impl ServerClock {
    /// Takes the time from the headers of a response.
    pub(crate) fn update(&self, headers: &HeaderMap) {
        if let Some(time) = parse_date(headers) {
            *lock(&self.0) = Some((time, Instant::now()));
        }
    }

    /// The API server's time, up to a second late; `None` before the first response.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        let last = *lock(&self.0);
        last.map(|(time, received)| time + received.elapsed())
    }
}

/// The value of the header `Date`.
pub(crate) fn parse_date(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .map(SystemTime::from)
}
