//! Why a list, a watch or a log stream could not be opened, or was ended by the API server.

use std::fmt;
use std::time::Duration;

use super::lost::LostConnection;
use super::response::TOO_LONG;

/// A failure of one attempt, with what the caller's retry loop needs to know.
#[derive(Debug)]
pub(crate) struct WatchError {
    /// The HTTP status; `None` if there was no response.
    pub(crate) code: Option<u16>,
    message: String,
    retry_after: Option<Duration>,
    is_final: bool,
    /// Whether the message says all, because the request was not sent.
    is_untrusted: bool,
}

impl WatchError {
    /// The error that a watch itself delivers as its last event.
    pub(crate) fn from_status(status: &kube::core::Status) -> Self {
        Self::from_response(Some(status.code), status.message.clone(), None)
    }

    /// An unsuccessful response, and how long the server asks to wait.
    pub(super) fn from_response(
        code: Option<u16>,
        message: String,
        retry_after: Option<Duration>,
    ) -> Self {
        Self {
            code,
            message,
            retry_after,
            is_final: false,
            is_untrusted: false,
        }
    }

    /// A response that is longer than a client keeps in memory.
    pub(super) fn too_long() -> Self {
        Self::from_response(Some(200), TOO_LONG.to_owned(), None)
    }

    /// A request that got no response.
    pub(super) fn without_response(message: impl Into<String>) -> Self {
        Self::from_response(None, message.into(), None)
    }

    /// A request whose connection could not be opened or was lost.
    pub(super) fn from_lost(lost: &LostConnection) -> Self {
        Self {
            is_untrusted: lost.is_untrusted(),
            ..Self::without_response(lost.to_string())
        }
    }

    /// A request that could not be built, or a response that could not be read.
    pub(crate) fn from_error(error: impl fmt::Display) -> Self {
        Self::without_response(error.to_string())
    }

    /// Sets how long to wait before the next attempt.
    #[must_use]
    pub(super) fn with_wait(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Marks the error as one that a retry does not change.
    #[must_use]
    pub(super) fn into_final(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether a retry would get the same response.
    pub(crate) fn is_final(&self) -> bool {
        self.is_final
    }

    /// Whether the API server may have rejected the resource version to start from: because it has not
    /// reached that version yet, or because it is none.
    pub(crate) fn may_reject_version(&self) -> bool {
        matches!(self.code, Some(400 | 422)) || self.message.contains("Too large resource version")
    }

    /// Whether the same request may succeed soon: the server is overloaded, or the connection was lost.
    pub(crate) fn is_passing(&self) -> bool {
        !self.is_final && matches!(self.code, None | Some(408 | 429 | 500..=599))
    }

    /// How long to wait before a retry, if that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.message.as_str()) {
            (None, message) if self.is_untrusted => f.write_str(message),
            (None, message) => write!(f, "the API server does not respond: {message}"),
            (Some(code), "") => write!(f, "the API server returned status {code}"),
            (Some(_), message) => f.write_str(message),
        }
    }
}
