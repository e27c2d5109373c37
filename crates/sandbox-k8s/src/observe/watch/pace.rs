//! The backoff of requests that failed.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::classify::backoff;
use crate::api::retry::random_part;

/// How long the API server may fail before the index counts as out of date. One request per sandbox
/// would not help an API server that is overloaded.
const DEGRADE_AFTER: Duration = Duration::from_secs(30);

/// The backoff of retries.
#[derive(Default)]
pub(super) struct Pace {
    pub(super) failures: u32,
    pub(super) failed_since: Option<Instant>,
}

impl Pace {
    /// Waits for as long as the server asks for, otherwise longer with each failure.
    pub(super) async fn wait(&mut self, retry_after: Option<Duration>) {
        let pause =
            backoff(self.failures).mul_f64(0.5) + random_part(backoff(self.failures).mul_f64(0.5));
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(retry_after.unwrap_or(pause)).await;
    }

    pub(super) fn has_failed_long(&self) -> bool {
        self.failed_since
            .is_some_and(|since| since.elapsed() >= DEGRADE_AFTER)
    }
}
