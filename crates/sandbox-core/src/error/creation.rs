//! Why a sandbox could not be created.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BoxError, Error};
use crate::{SandboxEvent, SandboxId};

/// Why a sandbox could not be created.
#[derive(Debug, thiserror::Error)]
#[error("sandbox {id} could not be created: {stage}: {message}")]
pub struct CreationError {
    /// The id of the sandbox.
    pub id: SandboxId,
    /// The stage that failed.
    pub stage: CreationStage,
    /// The kind of failure.
    pub reason: CreationReason,
    /// The problem and, if known, what to do.
    pub message: String,
    /// The latest events, oldest first.
    pub events: Vec<SandboxEvent>,
    /// The last lines of its server's log.
    pub log_tail: String,
    /// The cause.
    pub source: Option<BoxError>,
}

/// The stages of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CreationStage {
    /// The backend creates the sandbox.
    Provision,
    /// The first session is opened.
    Connect,
    /// It is proved that the sandbox has no way out but its egress rules.
    Isolate,
    /// The environment, files and initial commands are set up.
    Personalise,
}

/// Kinds of failed creations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum CreationReason {
    /// The image is missing, has an invalid name, or may not be pulled.
    ImagePull,
    /// No node has room for it.
    Unschedulable,
    /// A quota is exceeded.
    Quota,
    /// A policy or a permission forbids it.
    Rejected,
    /// This system cannot isolate the sandbox.
    Isolation,
    /// The sandbox reaches the network although a policy denies it: nothing enforces the policy.
    NotEnforced,
    /// It ended right after it started.
    Crashed,
    /// The SSH server did not respond, or refused the login.
    Unreachable,
    /// An initial command or file failed.
    Setup,
    /// It took too long.
    Timeout,
    /// It was evicted, or its node failed; a retry may succeed elsewhere.
    Evicted,
    /// The backend does not respond, or requests a retry later.
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
            Self::Isolate => "isolating failed",
            Self::Personalise => "setup failed",
        })
    }
}
