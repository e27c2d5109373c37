//! A point in time by which something shall be done.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{Error, Result};

/// A point in time by which something shall be done; passed down unchanged, so that steps do
/// not add up their time-outs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// So long from now.
    pub fn after(duration: Duration) -> Self {
        let now = Instant::now();
        // Far enough for any program when the sum does not fit.
        let at = now.checked_add(duration).unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        Self { at, after: duration }
    }

    /// The point in time.
    pub fn instant(self) -> Instant {
        self.at
    }

    /// How long is left; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits for `future`, at most until the deadline; then the future is dropped.
    ///
    /// # Errors
    ///
    /// The future's own, or [`Error::Timeout`] naming `operation`.
    pub async fn bound<T>(
        self,
        operation: &'static str,
        future: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        match timeout_at(self.at, future).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.error(operation)),
        }
    }

    /// The error for what was not done in time.
    pub fn error(self, operation: &'static str) -> Error {
        Error::Timeout { operation, after: self.after }
    }
}
