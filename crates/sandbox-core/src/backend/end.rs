//! Why a sandbox has ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::protocol::EndReason;

/// Why a sandbox has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SandboxEnd {
    /// The kind of end.
    pub cause: EndCause,
    /// One sentence about it; parts of it may come from inside the sandbox.
    pub message: String,
}

impl SandboxEnd {
    /// Creates the description of an end.
    pub fn new(cause: EndCause, message: impl Into<String>) -> Self {
        Self {
            cause,
            message: message.into(),
        }
    }
}

/// Kinds of ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EndCause {
    /// Its `ttl` or `max_lifetime` has passed.
    Lifetime,
    /// It was not used for its idle timeout.
    Idle,
    /// No client was connected for its attach timeout.
    NotAttached,
    /// No client has ever connected.
    NeverUsed,
    /// Its server was ended from outside, for an unknown reason.
    Stopped,
    /// The cluster ended it: it was evicted or preempted, or its node failed.
    Evicted,
    /// It is being deleted.
    Deleted,
    /// It failed: its server crashed, or it could not start.
    Failed,
}

impl EndCause {
    /// Returns whether the sandbox ended as it was created to end, which is no failure.
    pub fn is_planned(self) -> bool {
        match self {
            Self::Lifetime | Self::Idle | Self::NotAttached | Self::NeverUsed => true,
            Self::Stopped | Self::Evicted | Self::Deleted | Self::Failed => false,
        }
    }
}

impl From<EndReason> for EndCause {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Expired => Self::Lifetime,
            EndReason::Idle => Self::Idle,
            EndReason::NotAttached => Self::NotAttached,
            EndReason::NeverUsed => Self::NeverUsed,
            EndReason::Terminated => Self::Stopped,
        }
    }
}

impl fmt::Display for EndCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::NotAttached => "not attached",
            Self::NeverUsed => "never used",
            Self::Stopped => "stopped",
            Self::Evicted => "evicted",
            Self::Deleted => "deleted",
            Self::Failed => "failed",
        })
    }
}
