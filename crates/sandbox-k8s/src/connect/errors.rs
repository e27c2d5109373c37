//! Why a Pod cannot be reached.

use std::net::SocketAddr;
use std::time::Duration;

use sandbox_core::{ConnectionStage, Error};

use crate::observe::status::PodView;

/// Why one attempt failed.
pub(super) enum AttemptError {
    /// It will fail again.
    Fatal(Error),
    Transient(Error),
}

pub(super) fn ended(view: &PodView) -> String {
    match &view.problem {
        Some(problem) => format!("it has ended: {}", problem.message),
        None if view.deleting => "it is being deleted".into(),
        None => "it has ended".into(),
    }
}

/// A server may take a while to begin: to make its keys, or whatever else its image does first.
pub(crate) fn no_answer_error(port: u16, grace: Duration, error: Error) -> Error {
    let last = match error {
        Error::Connection(error) => error.message,
        other => other.to_string(),
    };
    unreachable(format!(
        "nothing answered on port {port} within {grace:?} of its start ({last}); set SANDBOX_SSH_PORT if its image's \
         own server listens elsewhere, SANDBOX_TRANSPORT=port-forward if Pods cannot be reached from here, or \
         SANDBOX_STARTUP_GRACE if it takes longer"
    ))
}

pub(super) fn unreachable(message: String) -> Error {
    Error::connection(ConnectionStage::Dial, message, None)
}

pub(super) fn dial(address: SocketAddr, error: std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing listens on {address}"),
        std::io::ErrorKind::UnexpectedEof => format!("what listens on {address} says nothing"),
        _ => format!("{address} cannot be connected to"),
    };
    Error::connection(ConnectionStage::Dial, message, Some(Box::new(error)))
}
