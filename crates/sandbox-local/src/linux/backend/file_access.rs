//! File access off the runtime's threads, and the errors of the backend that it leads to.

use std::io::{self, ErrorKind};

use sandbox_core::{Error, SandboxId};

use crate::options::BACKEND;

/// Runs blocking work on a thread of its own. `step` completes "cannot …".
pub(super) async fn run_blocking<T: Send + 'static>(
    step: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(format!("cannot {step}: {error}"))),
    }
}

/// Creates the error of a failed operation of this backend.
pub(super) fn backend_error(operation: &'static str, error: io::Error) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation,
        message: error.to_string(),
        transient: false,
        source: Some(Box::new(error)),
    }
}

/// Creates the error of a failed read of a sandbox's files. A missing file means that the sandbox
/// was deleted in the meantime.
pub(super) fn lookup_error(error: io::Error, id: &SandboxId) -> Error {
    if error.kind() == ErrorKind::NotFound {
        Error::NotFound { id: id.clone() }
    } else {
        backend_error("read the sandbox's state", error)
    }
}
