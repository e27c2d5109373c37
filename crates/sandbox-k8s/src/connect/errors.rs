//! Errors of connections to Pods.

use std::net::SocketAddr;
use std::time::Duration;

use sandbox_core::{ConnectionStage, Error};

use crate::observe::status::PodView;

/// Why one attempt failed, and whether another may succeed.
pub(super) enum AttemptError {
    Fatal(Error),
    Transient(Error),
}

pub(super) fn describe_end(view: &PodView) -> String {
    match &view.problem {
        Some(problem) => format!("the Pod has ended: {}", problem.message),
        None if view.deleting => "the Pod is being deleted".into(),
        None => "the Pod has ended".into(),
    }
}

/// The error of a server that has not responded within the grace period after its start.
pub(crate) fn no_answer_error(port: u16, grace: Duration, error: Error) -> Error {
    let last = match error {
        Error::Connection(error) => error.message,
        other => other.to_string(),
    };
    dial_error(format!(
        "nothing responded on port {port} within {grace:?} of the start ({last}); set SANDBOX_SSH_PORT if the image's \
         SSH server listens elsewhere, SANDBOX_TRANSPORT=port-forward if Pods cannot be reached from here, or \
         SANDBOX_STARTUP_GRACE if the server needs longer"
    ))
}

pub(super) fn dial_error(message: String) -> Error {
    Error::connection(ConnectionStage::Dial, message, None)
}

pub(super) fn address_error(address: SocketAddr, error: std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing listens on {address}"),
        std::io::ErrorKind::UnexpectedEof => {
            format!("the server on {address} closed the connection without a banner")
        }
        _ => format!("cannot connect to {address}"),
    };
    Error::connection(ConnectionStage::Dial, message, Some(Box::new(error)))
}
