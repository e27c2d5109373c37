//! Whether a request is sent again, and what is said when it is not any more.
//!
//! One that comes back listens before its caches are filled: without roles it forbids everything
//! to everybody but its administrators, and while it cannot look an account up (its store is not
//! there yet, its OIDC provider was not asked yet) nobody is known to it. So for a while a 401 or
//! a 403 says nothing of our rights.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sandbox_core::{Error, RetryAfter};
use tokio::time::Instant;

use crate::api::classify::{Next, backoff};

/// How long to wait before it is sent again; `None` where that is no use, or there is no time left.
/// A server that starts denies everything to everybody.
pub(super) fn again(next: &Next, attempt: u32, starts: bool, left: Duration) -> Option<Duration> {
    let pause = match next {
        Next::Retry { after } => after.unwrap_or_else(|| part_of(backoff(attempt))),
        Next::Denied(_) if starts => part_of(backoff(attempt).min(SOON)),
        _ => return None,
    };
    (pause < left).then_some(pause)
}

/// Puts what cut the connection beneath what says when to come back.
pub(super) fn with_cause(mut error: Error, cause: Option<kube::Error>) -> Error {
    let source = match &mut error {
        Error::Creation(creation) => creation.source.as_mut(),
        Error::Deletion { source, .. } | Error::Backend { source, .. } => source.as_mut(),
        _ => None,
    };
    if let Some(asked) = source.and_then(|source| source.downcast_mut::<RetryAfter>()) {
        asked.source = cause.map(Into::into);
    }
    error
}

/// A random part, so that clients that failed together do not come back together.
pub(crate) fn part_of(most: Duration) -> Duration {
    let mut byte = [0xff];
    // Without randomness, all of it is as good a part as any.
    if getrandom::fill(&mut byte).is_err() {
        return most;
    }
    most.mul_f64(f64::from(byte[0]) / 255.0)
}

/// For how long after it was away. `/readyz` waits for the roles of a server that starts, and is
/// well within this; a client without rights is told so much later.
const STARTS: Duration = Duration::from_secs(15);
/// The longest wait before it is asked again: it takes seconds, and not many.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// When it last failed to answer.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// It has not answered, or a connection was cut.
    pub(crate) fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What an answer says of it: failures in itself count as none at all.
    pub(super) fn hear(&self, code: Option<u16>) {
        if code.is_none_or(|code| code >= 500) {
            self.begins();
        }
    }

    /// Whether it may still be starting.
    pub(crate) fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < STARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_asked_again_while_there_is_time() {
        let seconds = Duration::from_secs;
        let error = || Error::invalid("right", "none", "grant it");
        for (next, starts, left, expected) in [
            (
                Next::Retry {
                    after: Some(seconds(3)),
                },
                false,
                seconds(4),
                true,
            ),
            (
                Next::Retry {
                    after: Some(seconds(3)),
                },
                false,
                seconds(3),
                false,
            ),
            (Next::Retry { after: None }, false, seconds(60), true),
            (Next::Retry { after: None }, false, Duration::ZERO, false),
            (Next::Denied(error()), false, seconds(60), false),
            (Next::Denied(error()), true, seconds(60), true),
            (Next::Denied(error()), true, Duration::ZERO, false),
            (Next::Permanent(error()), true, seconds(60), false),
            (Next::CheckNonce, true, seconds(60), false),
            (Next::AlreadyGone, true, seconds(60), false),
            (Next::Changed, true, seconds(60), false),
        ] {
            for attempt in [0, 20] {
                let pause = again(&next, attempt, starts, left);
                assert_eq!(
                    pause.is_some(),
                    expected,
                    "{next:?} {starts} {left:?}: {pause:?}"
                );
                assert!(
                    pause.is_none_or(|pause| pause < left),
                    "{next:?}: {pause:?}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_remembered_for_a_while() {
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
            outage.hear(code);
            assert_eq!(outage.is_recent(), counts, "{code:?}");
            tokio::time::sleep(STARTS).await;
            assert!(!outage.is_recent());
        }
    }
}
