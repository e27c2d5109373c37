//! What can go wrong, by meaning.

mod command;
mod connection;
mod creation;
mod retry;
mod transfer;

use std::time::Duration;

use crate::SandboxId;

pub use command::CommandCause;
pub use connection::{ConnectionError, ConnectionStage};
pub use creation::{CreationError, CreationReason, CreationStage};
pub use retry::RetryAfter;
pub use transfer::{Direction, TransferError, TransferReason};

/// The result of everything in this SDK.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause from another library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong. `Display` is one sentence for a person; the cause is in
/// [`source`](std::error::Error::source) and not repeated in the sentence.
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
    /// There is no such sandbox, or it has ended and was taken away.
    #[doc(alias = "SandboxNotFoundError")]
    #[error("there is no sandbox {id}")]
    NotFound {
        /// The id that was asked for.
        id: SandboxId,
    },

    /// The id is taken.
    #[error("a sandbox {id} exists already")]
    AlreadyExists {
        /// The id that was asked for.
        id: SandboxId,
    },

    /// A sandbox could not be made. Nothing is left of it.
    #[doc(alias = "SandboxCreationError")]
    #[error(transparent)]
    Creation(Box<CreationError>),

    /// A sandbox may still exist.
    #[doc(alias = "SandboxDeletionError")]
    #[error("sandbox {id} could not be deleted: {message}")]
    Deletion {
        /// The sandbox.
        id: SandboxId,
        /// What stands in the way.
        message: String,
        /// The cause.
        source: Option<BoxError>,
    },

    /// No connection came about, or one was lost.
    #[doc(alias = "SSHConnectionError")]
    #[error(transparent)]
    Connection(Box<ConnectionError>),

    /// A command could not be run to its end, or failed and [`check`](crate::Output::check)
    /// was asked to make that an error.
    #[doc(alias = "CommandExecutionError")]
    #[error("{cause}")]
    Command {
        /// In which way.
        cause: CommandCause,
        /// The cause beneath.
        source: Option<BoxError>,
    },

    /// A file could not be moved or changed.
    #[doc(alias = "FileTransferError")]
    #[error(transparent)]
    Transfer(Box<TransferError>),

    /// The configuration is wrong; every mistake is named.
    #[error("{message}")]
    Config {
        /// One line for each mistake.
        message: String,
    },

    /// An argument is wrong.
    #[error("{what} {value:?} is not valid: {why}")]
    Invalid {
        /// Which argument.
        what: String,
        /// What was given; secrets are replaced.
        value: String,
        /// What is accepted.
        why: String,
    },

    /// This backend, server or system cannot do it.
    #[error("{operation} is not supported by {by}: {hint}")]
    Unsupported {
        /// What was asked for.
        operation: String,
        /// Who cannot.
        by: String,
        /// The way out.
        hint: String,
    },

    /// Something was not done in time.
    #[error("time ran out after {after:?}: {operation}")]
    Timeout {
        /// What was being done.
        operation: &'static str,
        /// How long it was waited for.
        after: Duration,
    },

    /// The backend, or the system under it, failed.
    #[error("{backend}: could not {operation}: {message}")]
    Backend {
        /// Which backend.
        backend: &'static str,
        /// What it was doing.
        operation: &'static str,
        /// What it says.
        message: String,
        /// Whether another attempt may succeed.
        transient: bool,
        /// The cause.
        source: Option<BoxError>,
    },
}

impl Error {
    /// A wrong argument.
    pub fn invalid(what: impl Into<String>, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), value: value.into(), why: why.into() }
    }

    /// Something that cannot be done here, and what can be done instead.
    pub fn unsupported(operation: impl Into<String>, by: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported { operation: operation.into(), by: by.into(), hint: hint.into() }
    }

    /// A failed connection.
    pub fn connection(stage: ConnectionStage, message: impl Into<String>, source: Option<BoxError>) -> Self {
        Self::Connection(Box::new(ConnectionError {
            id: None,
            stage,
            message: message.into(),
            diagnosis: None,
            source,
        }))
    }

    /// A failed transfer.
    pub fn transfer(
        direction: Direction,
        path: impl Into<String>,
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

    /// The sandbox it is about, where it is known.
    pub fn sandbox_id(&self) -> Option<&SandboxId> {
        match self {
            Self::NotFound { id } | Self::AlreadyExists { id } | Self::Deletion { id, .. } => Some(id),
            Self::Creation(error) => Some(&error.id),
            Self::Connection(error) => error.id.as_ref(),
            _ => None,
        }
    }

    /// Adds which sandbox a connection was for, where it is not known yet.
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
    fn errors_are_small_and_travel() {
        fn travels<T: Send + Sync + 'static>() {}
        travels::<Error>();
        assert!(size_of::<Error>() <= 80, "{}", size_of::<Error>());
    }

    #[test]
    fn a_sentence_names_the_sandbox_and_does_not_repeat_its_cause() {
        let id: SandboxId = "sbx-one".parse().unwrap();
        let cause = std::io::Error::other("beneath");
        let error = Error::connection(ConnectionStage::Dial, "nothing listens there", Some(cause.into()))
            .with_sandbox(&id);
        assert_eq!(error.to_string(), "sandbox sbx-one cannot be reached: nothing listens there");
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "beneath");
        assert!(error.is_retryable() && error.sandbox_id() == Some(&id));
        assert!(!Error::connection(ConnectionStage::HostKey, "", None).is_retryable());
    }
}
