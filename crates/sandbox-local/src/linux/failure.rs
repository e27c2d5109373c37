//! Why a sandbox could not be made, as it travels from inside it to its maker.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Why a sandbox could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// Which kind.
    pub(crate) kind: FailureKind,
    /// What was being done: `mount /proc`.
    pub(crate) step: String,
    /// What was wrong, and what to do where that is known.
    pub(crate) message: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailureKind {
    /// The id is taken.
    AlreadyExists,
    /// A limit that was asked for cannot be applied; the message is the way out.
    Unsupported,
    /// This system does not allow the isolation.
    Isolation,
    /// This system does not permit namespaces, or what is done in them; others may do.
    Forbidden,
    /// A process ended at once.
    Crashed,
    /// None of these.
    Other,
}

impl Failure {
    pub(crate) fn new(
        kind: FailureKind,
        step: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            step: step.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.step, self.message)
    }
}

/// Turns errors of steps that only namespaces need into failures.
pub(crate) trait NamespaceContext<T> {
    /// Tells an answer that means "not permitted" from all others.
    fn namespace_context(self, step: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> NamespaceContext<T> for Result<T, E> {
    fn namespace_context(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| {
            let error: io::Error = error.into();
            let kind = match error.kind() {
                io::ErrorKind::PermissionDenied => FailureKind::Forbidden,
                _ => FailureKind::Isolation,
            };
            Failure::new(kind, step, error.to_string())
        })
    }
}

/// Turns errors into failures with their step.
pub(crate) trait IoContext<T> {
    /// A failure of the isolation.
    fn isolation_context(self, step: impl Into<String>) -> Result<T, Failure>;
    /// Any other failure.
    fn context(self, step: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> IoContext<T> for Result<T, E> {
    fn isolation_context(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(FailureKind::Isolation, step, error.to_string()))
    }

    fn context(self, step: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(FailureKind::Other, step, error.to_string()))
    }
}
