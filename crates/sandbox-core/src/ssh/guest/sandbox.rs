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
    /// What has stopped its processes, while it is paused. Former servers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_by: Option<StoppedBy>,
}

impl PauseState {
    /// Describes a sandbox.
    pub fn new(is_paused: bool, is_changed: bool, ttl_seconds: Option<u64>) -> Self {
        Self {
            is_paused,
            is_changed,
            ttl_seconds,
            stopped_by: None,
        }
    }
}

/// What stops the processes of a paused sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoppedBy {
    /// The freezer of their control group, which programs do not notice.
    Freezer,
    /// SIGSTOP. Some programs notice the SIGCONT that continues them.
    Signals,
    /// Something else, of which only a newer server knows.
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_former_and_newer_servers_are_read() {
        for (sent, expected) in [
            ("", None),
            (r#","stopped_by":"freezer""#, Some(StoppedBy::Freezer)),
            (r#","stopped_by":"signals""#, Some(StoppedBy::Signals)),
            (r#","stopped_by":"a demon""#, Some(StoppedBy::Other)),
        ] {
            let text = format!(r#"{{"is_paused":true{sent}}}"#);
            let state: PauseState = serde_json::from_str(&text).unwrap();
            assert_eq!(state.stopped_by, expected, "{text}");
        }
    }
}
