//! What one request is sent with.

use std::time::Duration;

use http::HeaderValue;

/// How often files with credentials are read again.
pub(super) const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The credentials of one request.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Issued {
    /// The value of `Authorization`.
    pub(super) header: Option<HeaderValue>,
    /// Changes with the client certificate, which belongs to a connection and not to a request.
    pub(super) generation: u64,
}
