//! Why a file was not transferred or changed.

use std::fmt;

use super::{BoxError, Error};

/// Why a file was not transferred or changed.
#[derive(Debug, thiserror::Error)]
#[error("could not {direction} {}: {message}", shown(path))]
pub struct TransferError {
    /// The direction of the transfer.
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
    /// It exists already.
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

/// The most of a path that a message repeats, in characters: a server may give a name any length.
const LONGEST: usize = 1000;

fn shown(path: &str) -> String {
    match path.char_indices().nth(LONGEST) {
        None => format!("{path:?}"),
        Some((end, _)) => format!("{:?}… ({} bytes in all)", &path[..end], path.len()),
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
            Self::Inside => "use",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_and_a_long_one_cut() {
        let of = |path: &str| {
            Error::transfer(Direction::Download, path, TransferReason::Other, "no", None)
                .to_string()
        };
        assert_eq!(of("a\u{1b} b"), r#"could not download "a\u{1b} b": no"#);
        assert_eq!(of(&"ä".repeat(LONGEST)).len(), 2 * LONGEST + 25);
        let cut = of(&"ä".repeat(9000));
        assert!(
            cut.ends_with("ä\"… (18000 bytes in all): no") && cut.len() < 3 * LONGEST,
            "{cut}"
        );
    }
}
