//! The error of a request, with the causes that callers handle.

use sandbox_core::Error;

/// The error of a request.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) cause: FailureCause,
}

/// Why a request failed, as far as a caller may go on without its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureCause {
    /// The namespace does not exist.
    NoNamespace,
    /// The object does not exist.
    NoObject,
    /// The account lacks the permission.
    NoPermission,
    Other,
}

impl FailureCause {
    pub(crate) fn with(self, error: Error) -> Failure {
        Failure { error, cause: self }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        FailureCause::Other.with(error)
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}
