//! Whether a request is sent again, and what is said when it is not any more.

use std::time::Duration;

use sandbox_core::{Error, RetryAfter};

use super::outage::SOON;
use super::part_of;
use crate::classify::{Next, backoff};

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
}
