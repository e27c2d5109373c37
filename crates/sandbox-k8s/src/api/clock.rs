//! What time it is for the API server: nobody else's clock decides when a sandbox is over.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::HeaderMap;
use http::header::DATE;
use tokio::time::Instant;

/// Its clock, as of its last answer, and what has passed since.
#[derive(Debug, Default)]
pub(crate) struct ServerClock(Mutex<Option<(SystemTime, Instant)>>);

impl ServerClock {
    pub(crate) fn hear(&self, headers: &HeaderMap) {
        if let Some(time) = date(headers) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((time, Instant::now()));
        }
    }

    /// `None` before the first answer. Up to a second behind.
    pub(crate) fn now(&self) -> Option<SystemTime> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(time, since)| time + since.elapsed())
    }
}

/// When an answer was given.
pub(crate) fn date(headers: &HeaderMap) -> Option<SystemTime> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
        .map(SystemTime::from)
}
