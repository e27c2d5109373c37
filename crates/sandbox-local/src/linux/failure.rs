//! Why a creation failed, as the server process and the supervisor report it to the client.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Why a creation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// The kind, which decides how the client and the supervisor handle it.
    pub(crate) kind: FailureKind,
    /// The step that failed, as it completes "cannot …": `mount /proc`.
    pub(crate) step: String,
    /// The cause, and the remedy if there is one.
    pub(crate) message: String,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FailureKind {
    /// The id is in use.
    AlreadyExists,
    /// A requested limit cannot be applied; the message is the remedy.
    Unsupported,
    /// This system does not allow the isolation.
    Isolation,
    /// This system does not permit namespaces, or what is done in them; Landlock may work.
    Forbidden,
    /// A process ended before it was ready.
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
        write!(f, "cannot {}: {}", self.step, self.message)
    }
}

/// Adds the failed step to an error of a step that only namespaces need.
pub(crate) trait NamespaceContext<T> {
    /// Creates a failure of kind `Forbidden` if permission was denied, else of kind `Isolation`.
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

/// Adds the failed step to an error.
pub(crate) trait IoContext<T> {
    /// Creates a failure of kind `Isolation`.
    fn isolation_context(self, step: impl Into<String>) -> Result<T, Failure>;
    /// Creates a failure of kind `Other`.
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
