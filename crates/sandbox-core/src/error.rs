//! What can go wrong, by meaning.

use std::fmt;
use std::time::Duration;

use crate::{ExitStatus, SandboxEvent, SandboxId};

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

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[error("sandbox {id} could not be created: {stage}: {message}")]
pub struct CreationError {
    /// The sandbox that would have been.
    pub id: SandboxId,
    /// Which step failed.
    pub stage: CreationStage,
    /// The kind of failure.
    pub reason: CreationReason,
    /// What was wrong and, where it is known, what to do.
    pub message: String,
    /// The latest events, oldest first.
    pub events: Vec<SandboxEvent>,
    /// The last lines of its server's log.
    pub log_tail: String,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The three steps of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreationStage {
    /// The backend makes it exist.
    Provision,
    /// A first session is opened.
    Connect,
    /// Environment, files and first commands go in.
    Personalise,
}

/// Kinds of failed creations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreationReason {
    /// The image is missing, misnamed or not allowed to be fetched.
    ImagePull,
    /// No machine has room for it.
    Unschedulable,
    /// A quota is used up.
    Quota,
    /// A policy or a permission forbids it.
    Rejected,
    /// This system cannot isolate it.
    Isolation,
    /// It ended at once.
    Crashed,
    /// SSH did not answer.
    Unreachable,
    /// A first command or file failed.
    Setup,
    /// It took too long.
    Timeout,
    /// None of these.
    Other,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}{}", self.place(), self.explained())]
pub struct ConnectionError {
    /// The sandbox, where it is known.
    pub id: Option<SandboxId>,
    /// Which step failed.
    pub stage: ConnectionStage,
    /// What was wrong and, where it is known, what to do.
    pub message: String,
    /// What the backend says became of the sandbox.
    pub diagnosis: Option<String>,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The steps of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStage {
    /// Reaching the server.
    Dial,
    /// Agreeing on keys; the server goes by other ones than were pinned, or by none of ours.
    HostKey,
    /// Proving who we are.
    Auth,
    /// Opening a channel, or keeping the connection.
    Channel,
}

/// How a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandCause {
    /// It ended, and not with exit code 0.
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of its standard error; untrusted text.
        stderr: String,
    },
    /// It could not be started.
    NotStarted {
        /// What the server says; untrusted text.
        message: String,
    },
    /// It ran too long, and its process group was killed.
    TimedOut {
        /// How long it was allowed to run.
        after: Duration,
    },
    /// The connection was lost before its end was known. It may or may not have done its work,
    /// and it was not run a second time.
    Lost,
    /// It has ended already, and can be reached no more.
    AlreadyEnded,
}

/// Why a file was not moved or changed.
#[derive(Debug, thiserror::Error)]
#[error("could not {direction} {path:?}: {message}")]
pub struct TransferError {
    /// Which way it should have gone.
    pub direction: Direction,
    /// The path, on the side where it failed.
    pub path: String,
    /// The kind of failure.
    pub reason: TransferReason,
    /// What was wrong.
    pub message: String,
    /// The cause.
    pub source: Option<BoxError>,
}

/// Which way a file should have gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// Into the sandbox.
    Upload,
    /// Out of the sandbox.
    Download,
    /// Nowhere: it was looked at or changed inside.
    Inside,
}

/// Kinds of failed transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransferReason {
    /// There is no such file.
    NotFound,
    /// Permissions do not allow it.
    PermissionDenied,
    /// It exists already.
    AlreadyExists,
    /// No space is left.
    NoSpace,
    /// The name cannot be sent, or could lead astray.
    BadName,
    /// It changed while it was read: more or fewer bytes came than it has.
    SizeChanged,
    /// It is larger than the limit.
    TooLarge,
    /// The connection was lost.
    Lost,
    /// None of these.
    Other,
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

    /// Whether the same call may succeed a little later. Commands are never retryable: a
    /// second run is for the caller to decide.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connection(error) => {
                matches!(error.stage, ConnectionStage::Dial | ConnectionStage::Channel)
            }
            Self::Creation(error) => matches!(
                error.reason,
                CreationReason::Unschedulable
                    | CreationReason::Quota
                    | CreationReason::Unreachable
                    | CreationReason::Timeout
            ),
            Self::Transfer(error) => matches!(error.reason, TransferReason::Lost),
            Self::Backend { transient, .. } => *transient,
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// How long to wait before another attempt, where one makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        self.is_retryable().then_some(Duration::from_secs(1))
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

impl From<CreationError> for Error {
    fn from(error: CreationError) -> Self {
        Self::Creation(Box::new(error))
    }
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(Box::new(error))
    }
}

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        Self::Transfer(Box::new(error))
    }
}

impl ConnectionError {
    fn place(&self) -> String {
        let sandbox = self.id.as_ref().map_or_else(|| "the sandbox".to_owned(), |id| format!("sandbox {id}"));
        match self.stage {
            ConnectionStage::Dial => format!("{sandbox} cannot be reached"),
            ConnectionStage::HostKey => format!("{sandbox} did not prove its identity"),
            ConnectionStage::Auth => format!("{sandbox} refused the key"),
            ConnectionStage::Channel => format!("the connection to {sandbox} failed"),
        }
    }

    fn explained(&self) -> String {
        self.diagnosis.as_ref().map(|diagnosis| format!(" ({diagnosis})")).unwrap_or_default()
    }
}

impl fmt::Display for CreationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provision => "provisioning failed",
            Self::Connect => "connecting failed",
            Self::Personalise => "setting it up failed",
        })
    }
}

impl fmt::Display for CommandCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { status, stderr } if stderr.is_empty() => {
                write!(f, "the command failed with {status}")
            }
            Self::Failed { status, stderr } => write!(f, "the command failed with {status}: {stderr}"),
            Self::NotStarted { message } => write!(f, "the command could not be started: {message}"),
            Self::TimedOut { after } => {
                write!(f, "the command ran longer than {after:?}, and its process group was killed")
            }
            Self::Lost => f.write_str(
                "the connection was lost before the command's end was known; it was not run again",
            ),
            Self::AlreadyEnded => f.write_str("the command has ended already"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Inside => "use",
        })
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
