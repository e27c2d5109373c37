//! Requests about the sandbox as a whole.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A request about the sandbox as a whole.
///
/// | request | last frame |
/// |---|---|
/// | [`Pause`](Self::Pause), [`Resume`](Self::Resume), [`State`](Self::State), [`SetOnExpiry`](Self::SetOnExpiry) | [`PauseState`] |
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
    /// Set what happens at the end of the `ttl`.
    SetOnExpiry {
        /// What happens.
        on_expiry: OnExpiry,
    },
    /// What the sandbox uses of its resources.
    Usage,
    /// The environment of the sandbox.
    Environment,
}

/// What happens to a sandbox at the end of its `ttl`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// It ends.
    #[default]
    End,
    /// Its server pauses it. It ends at the end of its `max_lifetime`, unless it is resumed, deleted or ends
    /// otherwise.
    Pause,
}

impl OnExpiry {
    /// Returns the text from which it can be parsed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Pause => "pause",
        }
    }
}

impl FromStr for OnExpiry {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "end" => Ok(Self::End),
            "pause" => Ok(Self::Pause),
            other => Err(Error::invalid("on expiry", other, "use end or pause")),
        }
    }
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
