//! Why there is no connection.

use super::{BoxError, Error};
use crate::SandboxId;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{}: {message}{}", self.place(), self.explained())]
pub struct ConnectionError {
    /// The sandbox, where it is known.
    pub id: Option<SandboxId>,
    /// Which step failed.
    pub stage: ConnectionStage,
    /// What was wrong and, where it is known, what to do.
    pub message: String,
    /// What the backend says became of the sandbox.
    pub diagnosis: Option<String>,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The steps of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStage {
    /// Reaching the server.
    Dial,
    /// Agreeing on keys; the server goes by other ones than were pinned, or by none of ours.
    HostKey,
    /// Proving who we are.
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
    fn place(&self) -> String {
        let sandbox = self.id.as_ref().map_or_else(|| "the sandbox".to_owned(), |id| format!("sandbox {id}"));
        match self.stage {
            ConnectionStage::Dial => format!("{sandbox} cannot be reached"),
            ConnectionStage::HostKey => format!("{sandbox} did not prove its identity"),
            ConnectionStage::Auth => format!("{sandbox} refused the key"),
            ConnectionStage::Channel => format!("the connection to {sandbox} failed"),
        }
    }

    fn explained(&self) -> String {
        self.diagnosis.as_ref().map(|diagnosis| format!(" ({diagnosis})")).unwrap_or_default()
    }
}
