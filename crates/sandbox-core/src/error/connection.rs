//! Why a connection failed.

use super::{BoxError, Error};
use crate::SandboxId;

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}{}", self.headline(), self.diagnosis_suffix())]
pub struct ConnectionError {
    /// The sandbox, if known.
    pub id: Option<SandboxId>,
    /// The stage that failed.
    pub stage: ConnectionStage,
    /// The problem and, if known, what to do.
    pub message: String,
    /// Whether the server has answered and refused, as it does where nothing listens on a port: then the connection is
    /// alive, and so is the sandbox.
    pub is_refusal: bool,
    /// What happened to the sandbox, according to the backend.
    pub diagnosis: Option<String>,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The stages of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStage {
    /// Reaching the server.
    Dial,
    /// Checking the host key: the server has another key than the pinned one, or no key of a
    /// supported type.
    HostKey,
    /// Authenticating.
    Auth,
    /// Opening a channel, or keeping the connection.
    Channel,
}

impl From<ConnectionError> for Error {
    fn from(error: ConnectionError) -> Self {
        Self::Connection(Box::new(error))
    }
}

impl ConnectionError {
    fn headline(&self) -> String {
        let sandbox = self
            .id
            .as_ref()
            .map_or_else(|| "the sandbox".to_owned(), |id| format!("sandbox {id}"));
        match self.stage {
            ConnectionStage::Dial => format!("{sandbox} cannot be reached"),
            ConnectionStage::HostKey => format!("{sandbox} did not prove its identity"),
            ConnectionStage::Auth => format!("{sandbox} refused the key"),
            ConnectionStage::Channel => format!("the connection to {sandbox} failed"),
        }
    }

    fn diagnosis_suffix(&self) -> String {
        self.diagnosis
            .as_ref()
            .map(|diagnosis| format!(" ({diagnosis})"))
            .unwrap_or_default()
    }
}
