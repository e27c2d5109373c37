//! Whether, and when, to retry.

use std::error::Error as Cause;
use std::fmt;
use std::time::Duration;

use super::{BoxError, ConnectionStage, CreationReason, Error, TransferReason};

/// For backends: a cause that carries the delay which the server requested before a retry.
/// [`Error::retry_after`] finds it among the causes of an error. It is displayed as its own cause, if it has one,
/// because when to retry does not say why a call failed.
#[derive(Debug)]
pub struct RetryAfter {
    /// The time to wait from now.
    pub after: Duration,
    /// The cause.
    pub source: Option<BoxError>,
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => source.fmt(f),
            None => write!(f, "temporarily unavailable; try again in {:?}", self.after),
        }
    }
}

impl Cause for RetryAfter {
    fn source(&self) -> Option<&(dyn Cause + 'static)> {
        self.source.as_ref().and_then(|source| source.source())
    }
}

/// The delay before a retry if the error carries none.
const DEFAULT_DELAY: Duration = Duration::from_secs(1);

impl Error {
    /// Returns whether the same call may succeed later. Errors of commands are never retryable:
    /// whether to retry a command is the caller's decision.
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
            // Deleting twice is safe, so only the cause decides whether a retry may help.
            Self::Deletion { source, .. } => source.as_ref().is_some_and(|source| {
                source.is::<RetryAfter>()
                    || source
                        .downcast_ref::<Self>()
                        .is_some_and(Self::is_retryable)
            }),
            _ => false,
        }
    }

    /// Returns whether the server could not be reached, which may change while it starts: nothing
    /// listens yet, it does not respond in time, or a backend is temporarily unavailable. Wrong
    /// keys and refusals are permanent.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Connection(error) => error.stage == ConnectionStage::Dial,
            Self::Backend { transient, .. } => *transient,
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// Returns how long to wait before a retry, if the error is retryable: as long as the server
    /// requested ([`RetryAfter`]), otherwise one second.
    pub fn retry_after(&self) -> Option<Duration> {
        if !self.is_retryable() {
            return None;
        }
        let mut cause = Cause::source(self);
        while let Some(found) = cause {
            if let Some(requested) = found.downcast_ref::<RetryAfter>() {
                return Some(requested.after);
            }
            cause = found.source();
        }
        Some(DEFAULT_DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested_delay(seconds: u64) -> BoxError {
        Box::new(RetryAfter {
            after: Duration::from_secs(seconds),
            source: None,
        })
    }

    fn backend(transient: bool, source: BoxError) -> Error {
        Error::Backend {
            backend: "k8s",
            operation: "read",
            message: String::new(),
            transient,
            source: Some(source),
        }
    }

    #[test]
    fn the_requested_delay_is_found_among_the_causes() {
        let id = "sbx-one".parse().unwrap();
        let deletion = Error::Deletion {
            id,
            message: String::new(),
            source: Some(backend(true, requested_delay(7)).into()),
        };
        assert_eq!(deletion.retry_after(), Some(Duration::from_secs(7)));
        assert_eq!(
            backend(true, requested_delay(3)).retry_after(),
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            backend(true, "no delay".into()).retry_after(),
            Some(DEFAULT_DELAY)
        );
        assert_eq!(backend(false, requested_delay(3)).retry_after(), None);
    }

    #[test]
    fn the_reason_is_displayed_rather_than_the_delay() {
        let retry = RetryAfter {
            after: Duration::from_secs(2),
            source: Some(backend(true, "connection refused".into()).into()),
        };
        assert_eq!(
            retry.to_string(),
            backend(true, "connection refused".into()).to_string()
        );
        assert_eq!(
            Cause::source(&retry).unwrap().to_string(),
            "connection refused"
        );
        assert_eq!(
            requested_delay(2).to_string(),
            "temporarily unavailable; try again in 2s"
        );
    }

    #[test]
    fn only_an_unreachable_server_is_reported_as_such() {
        let connection = |stage| Error::connection(stage, "", None);
        assert!(connection(ConnectionStage::Dial).is_unreachable());
        assert!(backend(true, "unavailable".into()).is_unreachable());
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
            backend(false, "forbidden".into()),
            Error::Config {
                message: String::new(),
            },
        ] {
            assert!(!error.is_unreachable(), "{error}");
        }
    }

    #[test]
    fn a_delete_is_retryable_if_its_cause_is() {
        let deletion = |source| {
            Error::Deletion {
                id: "sbx-one".parse().unwrap(),
                message: String::new(),
                source,
            }
            .is_retryable()
        };
        assert!(
            deletion(Some(requested_delay(1)))
                && deletion(Some(backend(true, "unavailable".into()).into()))
        );
        assert!(!deletion(None) && !deletion(Some(backend(false, "forbidden".into()).into())));
    }
}
