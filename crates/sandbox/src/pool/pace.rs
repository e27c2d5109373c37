//! How fast a pool creates sandboxes: slowly at first and after a failure, and why not at all.

use std::time::{Duration, SystemTime};

use sandbox_core::{CreationReason, Error};
use tokio::time::Instant;

use super::status::PoolProblem;

/// The first wait after a failed creation. It doubles while the next ones fail, too.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// How many creations may be started, and since when they fail.
#[derive(Debug)]
pub(crate) struct Pace {
    /// How many creations may be in progress at most.
    concurrency: usize,
    /// How many may be at the moment: one after a failure, then more with each success.
    batch: usize,
    failures: u32,
    /// The wait after the latest failure.
    backoff: Duration,
    not_before: Option<Instant>,
    problem: Option<PoolProblem>,
}

impl Pace {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self {
            concurrency,
            batch: 1,
            failures: 0,
            backoff: Duration::ZERO,
            not_before: None,
            problem: None,
        }
    }

    /// Returns how many of the missing creations may be started now, besides those in progress.
    pub(crate) fn startable(&mut self, now: Instant, missing: usize, filling: usize) -> usize {
        if self.not_before.is_some_and(|at| now < at) {
            return 0;
        }
        self.not_before = None;
        let room = self.batch.min(self.concurrency).saturating_sub(filling);
        missing.min(room)
    }

    /// Returns the time before which no creation is started.
    pub(crate) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// Returns why sandboxes cannot be created at the moment.
    pub(crate) fn problem(&self) -> Option<&PoolProblem> {
        self.problem.as_ref()
    }

    pub(crate) fn record_success(&mut self) {
        self.batch = self.batch.saturating_mul(2).min(self.concurrency);
        self.failures = 0;
        self.backoff = Duration::ZERO;
        self.not_before = None;
        self.problem = None;
    }

    pub(crate) fn record_failure(&mut self, error: &Error) {
        let reason = match error {
            Error::Creation(error) => Some(error.reason),
            Error::Timeout { .. } => Some(CreationReason::Timeout),
            _ => None,
        };
        self.batch = 1;
        self.failures = self.failures.saturating_add(1);
        let now = Instant::now();
        // Creations that were in progress together fail together: they lengthen the wait once.
        if self.not_before.is_none_or(|at| at <= now) {
            self.backoff = (self.backoff * 2).clamp(FIRST_BACKOFF, MAX_BACKOFF);
            self.not_before = Some(now + self.backoff);
        }
        self.set_problem(reason, error.to_string());
    }

    /// Records that a sandbox cannot be started yet. It is held, and not counted as a failure.
    pub(crate) fn record_held(&mut self, message: &str) {
        self.set_problem(Some(CreationReason::Unschedulable), message.to_owned());
    }

    fn set_problem(&mut self, reason: Option<CreationReason>, message: String) {
        let since = self.problem.as_ref().map(|problem| problem.since);
        self.problem = Some(PoolProblem {
            reason,
            message,
            since: since.unwrap_or_else(SystemTime::now),
            failures: self.failures,
        });
    }
}
