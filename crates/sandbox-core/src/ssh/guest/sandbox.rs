//! Requests about the sandbox as a whole.

use serde::{Deserialize, Serialize};

/// A request about the sandbox as a whole.
///
/// | request | last frame |
/// |---|---|
/// | [`Pause`](Self::Pause), [`Resume`](Self::Resume), [`State`](Self::State) | [`PauseState`] |
/// | [`Usage`](Self::Usage) | [`Usage`](super::Usage) |
/// | [`Environment`](Self::Environment) | a JSON object: the variables that a command gets, with their values |
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SandboxRequest {
    /// Stop all processes. The `ttl` stands still. Pausing a paused sandbox changes nothing.
    Pause,
    /// Continue all processes that the pause has stopped. Resuming a running sandbox changes nothing.
    Resume {
        /// Start a `ttl` of so many seconds, in place of what was left of the former one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ttl_seconds: Option<u64>,
    },
    /// Whether it is paused.
    State,
    /// What the sandbox uses of its resources.
    Usage,
    /// The environment of the sandbox.
    Environment,
}

/// Whether a sandbox is paused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PauseState {
    /// Whether it is paused now.
    pub is_paused: bool,
    /// Whether the request has changed that.
    #[serde(default)]
    pub is_changed: bool,
    /// The seconds left of the `ttl`, if it has one. They do not pass while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

impl PauseState {
    /// Describes a sandbox.
    pub fn new(is_paused: bool, is_changed: bool, ttl_seconds: Option<u64>) -> Self {
        Self {
            is_paused,
            is_changed,
            ttl_seconds,
        }
    }
}
