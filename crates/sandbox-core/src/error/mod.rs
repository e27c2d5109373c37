//! Errors, by meaning.

mod command;
mod connection;
mod creation;
mod retry;
mod transfer;
mod unsupported;

use std::time::Duration;

use crate::guest::Refusal;
use crate::{FilePath, SandboxId};

pub use command::CommandCause;
pub use connection::{ConnectionError, ConnectionStage};
pub use creation::{CreationError, CreationReason, CreationStage};
pub use retry::RetryAfter;
pub use transfer::{Direction, TransferError, TransferReason};
pub use unsupported::UnsupportedError;

/// The result type of this SDK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error from another library, as the cause of an error of this SDK.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error type of this SDK. `Display` is one sentence for people. The cause is in
/// [`source`](std::error::Error::source), and is not repeated in the sentence.
///
/// ```
/// use sandbox_core::{CreationReason, Error};
///
/// fn hint(error: &Error) -> &'static str {
///     match error {
///         Error::NotFound { .. } => "it has ended",
///         Error::Creation(error) if error.reason == CreationReason::Quota => "delete some sandboxes",
///         error if error.is_retryable() => "retry",
///         _ => "see the message",
///     }
/// }
/// ```
///
/// Names from the original Python SDK: `SandboxError` is this type,
/// `SandboxNotFoundError` → [`NotFound`](Self::NotFound),
/// `SandboxCreationError` → [`Creation`](Self::Creation),
/// `SandboxDeletionError` → [`Deletion`](Self::Deletion),
/// `SSHConnectionError` → [`Connection`](Self::Connection),
/// `CommandExecutionError` → [`Command`](Self::Command),
/// `FileTransferError` → [`Transfer`](Self::Transfer).
#[doc(alias = "SandboxError")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such sandbox, or it has ended and was removed.
    #[doc(alias = "SandboxNotFoundError")]
    #[error("there is no sandbox {id}")]
    NotFound {
        /// The requested id.
        id: SandboxId,
    },

    /// There is already a sandbox with this id.
    #[error("sandbox {id} already exists")]
    AlreadyExists {
        /// The requested id.
        id: SandboxId,
    },

    /// A sandbox could not be created. Nothing is left behind.
    #[doc(alias = "SandboxCreationError")]
    #[error(transparent)]
    Creation(Box<CreationError>),

    /// No sandbox waited in a pool that creates none for a caller, or the pool was closed.
    #[error("no sandbox could be taken from the pool: {message}")]
    PoolEmpty {
        /// The problem and, if known, what to do.
        message: String,
        /// Why the pool's latest creation failed, if it did.
        reason: Option<CreationReason>,
    },

    /// A sandbox could not be deleted, and may still exist.
    #[doc(alias = "SandboxDeletionError")]
    #[error("sandbox {id} could not be deleted: {message}")]
    Deletion {
        /// The sandbox.
        id: SandboxId,
        /// The problem.
        message: String,
        /// The cause.
        source: Option<BoxError>,
    },

    /// A connection could not be opened, or was lost.
    #[doc(alias = "SSHConnectionError")]
    #[error(transparent)]
    Connection(Box<ConnectionError>),

    /// A command could not be run to its end, or it failed and [`check`](crate::Output::check) made
    /// that an error.
    #[doc(alias = "CommandExecutionError")]
    #[error("{cause}")]
    Command {
        /// How it failed.
        cause: CommandCause,
        /// The cause.
        source: Option<BoxError>,
    },

    /// A file could not be transferred or changed.
    #[doc(alias = "FileTransferError")]
    #[error(transparent)]
    Transfer(Box<TransferError>),

    /// The configuration is invalid.
    #[error("{message}")]
    Config {
        /// Every mistake, one line for each.
        message: String,
    },

    /// An argument is invalid.
    #[error("{argument} {value:?} is not valid: {reason}")]
    Invalid {
        /// The argument.
        argument: String,
        /// The value; secrets are replaced.
        value: String,
        /// Why it is refused, or what is accepted instead.
        reason: String,
    },

    /// The backend, server or system cannot do this.
    #[error(transparent)]
    Unsupported(Box<UnsupportedError>),

    /// The sandbox's server refuses an operation of the guest protocol, to run a command as a user, or to attach to a job.
    /// It comes from the sandbox, so it is untrusted.
    #[error(transparent)]
    Refused(Box<Refusal>),

    /// An operation timed out.
    #[error("{operation} timed out after {after:?}")]
    Timeout {
        /// The operation, as a noun phrase: `connecting to the Pod`.
        operation: &'static str,
        /// The timeout.
        after: Duration,
    },

    /// The backend, or the system that it uses, failed.
    #[error("{backend}: could not {operation}: {message}")]
    Backend {
        /// The backend.
        backend: &'static str,
        /// The operation, as a verb phrase: `create the Pod`.
        operation: &'static str,
        /// The message.
        message: String,
        /// Whether a retry may succeed.
        transient: bool,
        /// The cause.
        source: Option<BoxError>,
    },
}

impl Error {
    /// Creates an error for an invalid argument.
    pub fn invalid(
        argument: impl Into<String>,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            argument: argument.into(),
            value: value.into(),
            reason: reason.into(),
        }
    }

    /// Creates an error for something unsupported, with what to do instead. See the fields of
    /// [`UnsupportedError`].
    pub fn unsupported(
        operation: impl Into<String>,
        by: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::from(UnsupportedError {
            operation: operation.into(),
            by: by.into(),
            reason: None,
            hint: hint.into(),
        })
    }

    /// Creates an error for something unsupported, with the reason and what to do instead.
    pub fn unsupported_because(
        operation: impl Into<String>,
        by: impl Into<String>,
        reason: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::from(UnsupportedError {
            operation: operation.into(),
            by: by.into(),
            reason: Some(reason.into()),
            hint: hint.into(),
        })
    }

    /// Creates an error for a failed connection.
    pub fn connection(
        stage: ConnectionStage,
        message: impl Into<String>,
        source: Option<BoxError>,
    ) -> Self {
        Self::Connection(Box::new(ConnectionError {
            id: None,
            stage,
            message: message.into(),
            is_refusal: false,
            diagnosis: None,
            source,
        }))
    }

    /// Creates an error for a channel that the server refuses to open, over a connection that goes on.
    pub fn refused_channel(message: impl Into<String>) -> Self {
        Self::Connection(Box::new(ConnectionError {
            id: None,
            stage: ConnectionStage::Channel,
            message: message.into(),
            is_refusal: true,
            diagnosis: None,
            source: None,
        }))
    }

    /// Creates an error for a failed transfer.
    pub fn transfer(
        direction: Direction,
        path: impl Into<FilePath>,
        reason: TransferReason,
        message: impl Into<String>,
        source: Option<BoxError>,
    ) -> Self {
        Self::Transfer(Box::new(TransferError {
            direction,
            path: path.into(),
            reason,
            message: message.into(),
            source,
        }))
    }

    /// Returns the sandbox that the error is about, if known.
    pub fn sandbox_id(&self) -> Option<&SandboxId> {
        match self {
            Self::NotFound { id } | Self::AlreadyExists { id } | Self::Deletion { id, .. } => {
                Some(id)
            }
            Self::Creation(error) => Some(&error.id),
            Self::Connection(error) => error.id.as_ref(),
            _ => None,
        }
    }

    /// Adds the sandbox to an error of a connection that does not name one yet.
    #[must_use]
    pub fn with_sandbox(mut self, sandbox: &SandboxId) -> Self {
        if let Self::Connection(error) = &mut self {
            error.id.get_or_insert_with(|| sandbox.clone());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_small_and_can_be_sent() {
        fn can_be_sent<T: Send + Sync + 'static>() {}
        can_be_sent::<Error>();
        assert!(size_of::<Error>() <= 80, "{}", size_of::<Error>());
    }

    #[test]
    fn a_sentence_names_the_sandbox_and_does_not_repeat_its_cause() {
        let id: SandboxId = "sbx-one".parse().unwrap();
        let cause = std::io::Error::other("inner");
        let error = Error::connection(
            ConnectionStage::Dial,
            "nothing listens there",
            Some(cause.into()),
        )
        .with_sandbox(&id);
        assert_eq!(
            error.to_string(),
            "sandbox sbx-one cannot be reached: nothing listens there"
        );
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "inner"
        );
        assert!(error.is_retryable() && error.sandbox_id() == Some(&id));
        assert!(!Error::connection(ConnectionStage::HostKey, "", None).is_retryable());
    }
}
