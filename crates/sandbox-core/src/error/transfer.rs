//! Why a file was not moved or changed.

use std::fmt;

use super::{BoxError, Error};

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

impl From<TransferError> for Error {
    fn from(error: TransferError) -> Self {
        Self::Transfer(Box::new(error))
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
