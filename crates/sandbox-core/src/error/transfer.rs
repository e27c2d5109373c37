//! Why a file was not transferred or changed.

use std::fmt;

use super::{BoxError, Error};
use crate::FilePath;

/// Why a file was not transferred or changed.
#[derive(Debug, thiserror::Error)]
#[error("could not {direction} {}: {message}", quote_path(path))]
pub struct TransferError {
    /// The direction of the transfer.
    pub direction: Direction,
    /// The path, on the side where it failed.
    pub path: FilePath,
    /// The kind of failure.
    pub reason: TransferReason,
    /// The problem.
    pub message: String,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// Into the sandbox.
    Upload,
    /// Out of the sandbox.
    Download,
    /// Neither: the file was read or changed inside.
    Inside,
}

/// Kinds of failed transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransferReason {
    /// There is no such file.
    NotFound,
    /// Permission was denied.
    PermissionDenied,
    /// The file already exists.
    AlreadyExists,
    /// No space is left.
    NoSpace,
    /// The name cannot be sent, or is dangerous.
    BadName,
    /// The file changed while it was read: more or fewer bytes arrived than its size.
    SizeChanged,
    /// It is larger than the limit.
    TooLarge,
    /// The connection was lost.
    Lost,
    /// None of these.
    Other,
}

/// The longest path in a message, in bytes: a server may send names of any length.
const MAX_PATH_LEN: usize = 1000;

fn quote_path(path: &FilePath) -> String {
    let too_long = path.len() > MAX_PATH_LEN;
    match FilePath::from(&path.as_bytes()[..path.len().min(MAX_PATH_LEN)]) {
        start if too_long => format!("{start:?}… ({} bytes in all)", path.len()),
        whole => format!("{whole:?}"),
    }
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
            Self::Inside => "access",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_and_a_long_one_is_truncated() {
        let message_for = |path: &str| {
            Error::transfer(Direction::Download, path, TransferReason::Other, "no", None)
                .to_string()
        };
        assert_eq!(
            message_for("a\u{1b} b"),
            r#"could not download "a\u{1b} b": no"#
        );
        assert_eq!(
            message_for(&"ä".repeat(MAX_PATH_LEN / 2)).len(),
            MAX_PATH_LEN + 25
        );
        let cut = message_for(&"ä".repeat(9000));
        assert!(
            cut.ends_with("ä\"… (18000 bytes in all): no") && cut.len() < 2 * MAX_PATH_LEN,
            "{cut}"
        );
    }

    #[test]
    fn a_path_that_is_not_utf8_is_escaped_once() {
        let error = Error::transfer(
            Direction::Inside,
            b"caf\xe9",
            TransferReason::Other,
            "no",
            None,
        );
        assert_eq!(error.to_string(), r#"could not access "caf\xe9": no"#);
    }
}
