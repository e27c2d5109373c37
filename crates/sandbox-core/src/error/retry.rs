//! Whether, and when, to retry.

use std::error::Error as Cause;
use std::time::Duration;

use super::{BoxError, ConnectionStage, CreationReason, Error, TransferReason};

/// For backends: the cause of an error that says when to retry, because the server asked to wait this
/// long. [`Error::retry_after`] finds it among the causes.
#[derive(Debug, thiserror::Error)]
#[error("retry in {after:?}")]
pub struct RetryAfter {
    /// The time to wait from now.
    pub after: Duration,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The delay before a retry if the error carries none.
const DEFAULT_DELAY: Duration = Duration::from_secs(1);

impl Error {
    /// Returns whether the same call may succeed later. Errors of commands are never retryable: whether to
    /// run a command again is the caller's decision.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection(error) => {
                matches!(
                    error.stage,
                    ConnectionStage::Dial | ConnectionStage::Channel
                )
            }
            Self::Creation(error) => matches!(
                error.reason,
                CreationReason::Unschedulable
                    | CreationReason::Quota
                    | CreationReason::Unreachable
                    | CreationReason::Timeout
                    | CreationReason::Evicted
                    | CreationReason::Unavailable
            ),
            Self::Transfer(error) => matches!(error.reason, TransferReason::Lost),
            Self::Backend { transient, .. } => *transient,
            Self::Timeout { .. } => true,
            // A delete may always be repeated; whether that helps, its cause says.
            Self::Deletion { source, .. } => source.as_ref().is_some_and(|source| {
                source.is::<RetryAfter>()
                    || source
                        .downcast_ref::<Self>()
                        .is_some_and(Self::is_retryable)
            }),
            _ => false,
        }
    }

    /// Returns whether the server could not be reached, which may pass while it starts: nothing listens yet,
    /// no answer in time, or a backend that is temporarily unavailable. Wrong keys and refusals do not
    /// pass.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connection(error) => error.stage == ConnectionStage::Dial,
            Self::Backend { transient, .. } => *transient,
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// Returns how long to wait before a retry, if the error is retryable: as long as the server asked for
    /// ([`RetryAfter`]), otherwise one second.
    pub fn retry_after(&self) -> Option<Duration> {
        if !self.is_retryable() {
            return None;
        }
        let mut cause = Cause::source(self);
        while let Some(found) = cause {
            if let Some(asked) = found.downcast_ref::<RetryAfter>() {
                return Some(asked.after);
            }
            cause = found.source();
        }
        Some(DEFAULT_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(seconds: u64) -> BoxError {
        Box::new(RetryAfter {
            after: Duration::from_secs(seconds),
            source: None,
        })
    }

    fn backend(transient: bool, source: BoxError) -> Error {
        let (message, source) = (String::new(), Some(source));
        Error::Backend {
            backend: "k8s",
            operation: "read",
            message,
            transient,
            source,
        }
    }

    #[test]
    fn what_the_server_asks_for_is_found_beneath() {
        let id = "sbx-one".parse().unwrap();
        let deeper = Error::Deletion {
            id,
            message: String::new(),
            source: Some(backend(true, asked(7)).into()),
        };
        assert_eq!(deeper.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(
            backend(true, asked(3)).retry_after(),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            backend(true, "none".into()).retry_after(),
            Some(DEFAULT_DELAY)
        );
        assert_eq!(backend(false, asked(3)).retry_after(), None);
    }

    #[test]
    fn only_what_was_not_reached_may_be_reached_later() {
        let connection = |stage| Error::connection(stage, "", None);
        assert!(connection(ConnectionStage::Dial).is_unreachable());
        assert!(backend(true, "away".into()).is_unreachable());
        assert!(
            Error::Timeout {
                operation: "dial",
                after: DEFAULT_DELAY
            }
            .is_unreachable()
        );
        for error in [
            connection(ConnectionStage::HostKey),
            connection(ConnectionStage::Auth),
            connection(ConnectionStage::Channel),
            backend(false, "no right".into()),
            Error::Config {
                message: String::new(),
            },
        ] {
            assert!(!error.is_unreachable(), "{error}");
        }
    }

    #[test]
    fn a_delete_is_repeated_only_for_a_cause_that_passes() {
        let deletion = |source| {
            Error::Deletion {
                id: "sbx-one".parse().unwrap(),
                message: String::new(),
                source,
            }
            .is_retryable()
        };
        assert!(deletion(Some(asked(1))) && deletion(Some(backend(true, "away".into()).into())));
        assert!(!deletion(None) && !deletion(Some(backend(false, "no right".into()).into())));
    }
}
