//! When a request is retried, and whether the API server is just starting.
//!
//! An API server that comes back accepts connections before its caches are filled. Without roles it
//! forbids everything to everyone but its administrators, and while it cannot look up an account
//! (its store or its OIDC provider is not available yet) it rejects every token. So for a while after an
//! outage, a 401 or a 403 says nothing about the client's permissions.

use std::sync::Mutex;
use std::time::Duration;

use sandbox_core::{Error, RetryAfter};
use tokio::time::Instant;

use crate::api::classify::{NextStep, backoff};
use crate::api::lost::LostConnection;
use crate::lock::lock;

/// How long an API server counts as starting after an outage. `/readyz` waits for the roles of a
/// server that starts, and takes much less. A client without permissions gets its error this much
/// later.
const STARTUP_TIME: Duration = Duration::from_secs(15);

/// The longest wait between two attempts while the API server starts, which takes a few seconds.
pub(super) const MAX_STARTUP_BACKOFF: Duration = Duration::from_secs(1);

/// Returns how long to wait before a request is retried; `None` if a retry cannot help, or if no time
/// remains for one.
pub(super) fn retry_delay(
    next: &NextStep,
    attempt: u32,
    server_is_starting: bool,
    remaining: Duration,
) -> Option<Duration> {
    let delay = match next {
        NextStep::Retry { after } => after.unwrap_or_else(|| random_part(backoff(attempt))),
        NextStep::Denied(_) if server_is_starting => {
            random_part(backoff(attempt).min(MAX_STARTUP_BACKOFF))
        }
        NextStep::Denied(_)
        | NextStep::Permanent(_)
        | NextStep::CheckNonce
        | NextStep::Missing
        | NextStep::Conflict
        | NextStep::Expired => return None,
    };
    (delay < remaining).then_some(delay)
}

/// Makes the connection's failure the cause of the error's [`RetryAfter`].
pub(super) fn attach_cause(mut error: Error, cause: Option<LostConnection>) -> Error {
    let source = match &mut error {
        Error::Creation(creation) => creation.source.as_mut(),
        Error::Deletion { source, .. } | Error::Backend { source, .. } => source.as_mut(),
        _ => None,
    };
    if let Some(retry) = source.and_then(|source| source.downcast_mut::<RetryAfter>()) {
        retry.source = cause.map(Into::into);
    }
    error
}

/// Returns a random part of a duration, so that clients that failed together do not retry together.
pub(crate) fn random_part(longest: Duration) -> Duration {
    let mut byte = [0xff];
    // Without a source of randomness, the whole duration is a valid choice.
    if getrandom::fill(&mut byte).is_err() {
        return longest;
    }
    longest.mul_f64(f64::from(byte[0]) / 255.0)
}

/// When the API server last failed to respond.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// Records that the API server did not respond, or that it cut a connection.
    pub(crate) fn record(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    /// Records an outage if there was no response, or one that reports a failure of the server.
    pub(super) fn observe_status(&self, code: Option<u16>) {
        if code.is_none_or(|code| code >= 500) {
            self.record();
        }
    }

    /// Whether the API server may still be starting.
    pub(crate) fn is_recent(&self) -> bool {
        lock(&self.0).is_some_and(|last| last.elapsed() < STARTUP_TIME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_failures_are_retried_while_time_remains() {
        let seconds = Duration::from_secs;
        let error = || Error::invalid("right", "none", "grant it");
        for (next, starts, left, expected) in [
            (
                NextStep::Retry {
                    after: Some(seconds(3)),
                },
                false,
                seconds(4),
                true,
            ),
            (
                NextStep::Retry {
                    after: Some(seconds(3)),
                },
                false,
                seconds(3),
                false,
            ),
            (NextStep::Retry { after: None }, false, seconds(60), true),
            (
                NextStep::Retry { after: None },
                false,
                Duration::ZERO,
                false,
            ),
            (NextStep::Denied(error().into()), false, seconds(60), false),
            (NextStep::Denied(error().into()), true, seconds(60), true),
            (
                NextStep::Denied(error().into()),
                true,
                Duration::ZERO,
                false,
            ),
            (
                NextStep::Permanent(error().into()),
                true,
                seconds(60),
                false,
            ),
            (NextStep::CheckNonce, true, seconds(60), false),
            (NextStep::Missing, true, seconds(60), false),
            (NextStep::Conflict, true, seconds(60), false),
            (NextStep::Expired, true, seconds(60), false),
        ] {
            for attempt in [0, 20] {
                let delay = retry_delay(&next, attempt, starts, left);
                assert_eq!(
                    delay.is_some(),
                    expected,
                    "{next:?} {starts} {left:?}: {delay:?}"
                );
                assert!(
                    delay.is_none_or(|delay| delay < left),
                    "{next:?}: {delay:?}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_recent_for_a_while() {
        for (code, counts) in [
            (None, true),
            (Some(500), true),
            (Some(503), true),
            (Some(200), false),
            (Some(403), false),
            (Some(429), false),
        ] {
            let outage = Outage::default();
            assert!(!outage.is_recent());
            outage.observe_status(code);
            assert_eq!(outage.is_recent(), counts, "{code:?}");
            tokio::time::sleep(STARTUP_TIME).await;
            assert!(!outage.is_recent());
        }
    }
}
