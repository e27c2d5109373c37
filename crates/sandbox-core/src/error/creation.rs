//! Why a sandbox could not be made.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BoxError, Error};
use crate::{SandboxEvent, SandboxId};

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[error("sandbox {id} could not be created: {stage}: {message}")]
pub struct CreationError {
    /// The sandbox that would have been.
    pub id: SandboxId,
    /// Which step failed.
    pub stage: CreationStage,
    /// The kind of failure.
    pub reason: CreationReason,
    /// What was wrong and, where it is known, what to do.
    pub message: String,
    /// The latest events, oldest first.
    pub events: Vec<SandboxEvent>,
    /// The last lines of its server's log.
    pub log_tail: String,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The three steps of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreationStage {
    /// The backend makes it exist.
    Provision,
    /// A first session is opened.
    Connect,
    /// Environment, files and first commands go in.
    Personalise,
}

/// Kinds of failed creations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CreationReason {
    /// The image is missing, misnamed or not allowed to be fetched.
    ImagePull,
    /// No machine has room for it.
    Unschedulable,
    /// A quota is used up.
    Quota,
    /// A policy or a permission forbids it.
    Rejected,
    /// This system cannot isolate it.
    Isolation,
    /// It ended at once.
    Crashed,
    /// SSH did not answer, or let nobody in.
    Unreachable,
    /// A first command or file failed.
    Setup,
    /// It took too long.
    Timeout,
    /// It was put away for others, or its machine went: the same may do well elsewhere.
    Evicted,
    /// The backend does not answer, or asks to come back later.
    Unavailable,
    /// None of these.
    Other,
}

impl From<CreationError> for Error {
    fn from(error: CreationError) -> Self {
        Self::Creation(Box::new(error))
    }
}

impl fmt::Display for CreationStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Provision => "provisioning failed",
            Self::Connect => "connecting failed",
            Self::Personalise => "setting it up failed",
        })
    }
}
