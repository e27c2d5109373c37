//! A point in time by which an operation must finish.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::{Error, Result};

/// A point in time by which an operation must finish. It is passed down unchanged, so that the
/// timeouts of the steps do not add up.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::Deadline;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> sandbox_core::Result<()> {
/// let deadline = Deadline::from_now(Duration::from_secs(5));
/// let answer = deadline.bound("computing the answer", async { Ok(42) }).await?;
/// assert!(!deadline.has_passed());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    after: Duration,
}

impl Deadline {
    /// Creates a deadline this long from now.
    pub fn from_now(duration: Duration) -> Self {
        let now = Instant::now();
        // A year is far enough if the sum does not fit.
        let at = now
            .checked_add(duration)
            .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365));
        Self {
            at,
            after: duration,
        }
    }

    /// Returns the point in time.
    pub fn instant(self) -> Instant {
        self.at
    }

    /// Returns how much time is left; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Returns whether it has passed.
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// Waits for `future`, at most until the deadline, when the future is dropped.
    ///
    /// # Errors
    ///
    /// The error of the future, or [`Error::Timeout`] naming `operation`.
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

    /// Returns the error for an operation that did not finish in time.
    pub fn error(self, operation: &'static str) -> Error {
        Error::Timeout {
            operation,
            after: self.after,
        }
    }
}
