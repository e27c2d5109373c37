//! Why the server does not carry an operation out.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why the server does not carry an operation out, or has stopped doing so. It comes from a sandbox, so it is
/// untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// The kind.
    pub code: RefusalCode,
    /// What failed, why, and what to do, in one line.
    pub message: String,
}

impl Refusal {
    /// Creates a refusal.
    pub fn new(code: RefusalCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RefusalCode {
    /// There is no such file, process, job or watcher.
    NotFound,
    /// The file already exists.
    AlreadyExists,
    /// The request is malformed, or contradicts itself.
    Invalid,
    /// The path is not a directory.
    NotADirectory,
    /// The path is a directory.
    IsADirectory,
    /// Permission was denied.
    PermissionDenied,
    /// There is no such user.
    UnknownUser,
    /// No space is left.
    NoSpace,
    /// A limit of the server was reached: number, size or memory.
    LimitReached,
    /// The timeout of the process has elapsed, and it was killed.
    TimedOut,
    /// The subscriber did not read for too long.
    TooSlow,
    /// This server, or this system, cannot do this.
    Unsupported,
    /// The sandbox is paused.
    Paused,
    /// None of these, or of a later version of this protocol.
    #[serde(other)]
    Other,
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Invalid => "invalid",
            Self::NotADirectory => "not a directory",
            Self::IsADirectory => "is a directory",
            Self::PermissionDenied => "permission denied",
            Self::UnknownUser => "unknown user",
            Self::NoSpace => "no space",
            Self::LimitReached => "limit reached",
            Self::TimedOut => "timed out",
            Self::TooSlow => "too slow",
            Self::Unsupported => "unsupported",
            Self::Paused => "paused",
            Self::Other => "other",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_later_version_is_understood_as_other() {
        let refusal: Refusal =
            serde_json::from_str(r#"{"code":"too_hot","message":"m","degrees":99}"#).unwrap();
        assert_eq!(refusal, Refusal::new(RefusalCode::Other, "m"));
        assert_eq!(
            serde_json::to_string(&Refusal::new(RefusalCode::NotADirectory, "m")).unwrap(),
            r#"{"code":"not_a_directory","message":"m"}"#
        );
    }
}
