//! Why there is no list, or no watch.

use std::fmt;
use std::time::Duration;

/// What the watch's loop decides by.
#[derive(Debug)]
pub(crate) struct WatchError {
    /// `None` when no answer came.
    pub(crate) code: Option<u16>,
    message: String,
    after: Option<Duration>,
    is_final: bool,
}

impl WatchError {
    /// As the watch itself says.
    pub(crate) fn of(status: &kube::core::Status) -> Self {
        Self {
            code: Some(status.code),
            message: status.message.clone(),
            after: None,
            is_final: false,
        }
    }

    /// No answer.
    pub(super) fn lost(message: impl Into<String>) -> Self {
        Self {
            code: None,
            message: message.into(),
            after: None,
            is_final: false,
        }
    }

    /// An answer, and how long the server asks to be left alone.
    pub(super) fn answered(code: Option<u16>, message: String, after: Option<Duration>) -> Self {
        Self {
            code,
            message,
            after,
            is_final: false,
        }
    }

    /// What cannot be sent, or read.
    pub(crate) fn request_error(error: impl fmt::Display) -> Self {
        Self::lost(error.to_string())
    }

    /// The same, which may be another answer in a moment.
    #[must_use]
    pub(super) fn soon(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }

    /// The same, which asking again does not change.
    #[must_use]
    pub(super) fn for_good(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether asking again gives the same answer.
    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    /// Whether it may be the version to go on from that is refused: it is one that the API server
    /// does not have yet, or finds no version at all.
    pub(crate) fn may_mean_the_version(&self) -> bool {
        matches!(self.code, Some(400 | 422)) || self.message.contains("Too large resource version")
    }

    /// When to ask again, where that is known.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.after
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.message.as_str()) {
            (None, message) => write!(f, "the API server does not answer: {message}"),
            (Some(code), "") => write!(f, "the API server answered {code}"),
            (Some(_), message) => f.write_str(message),
        }
    }
}
