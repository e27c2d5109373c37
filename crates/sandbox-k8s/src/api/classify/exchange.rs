//! A request and its response, as far as the decision depends on them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::SandboxId;

/// No server makes a client wait longer than this.
pub(crate) const MAX_WAIT: Duration = Duration::from_secs(10);

/// No error asks its caller to retry later than this.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The kind of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Get, list or watch.
    Read,
    /// Continue a list with its next page.
    Continue,
    /// Create an object with a name and nonce of the client.
    Create,
    /// Delete an object with a certain uid, and optionally a certain resourceVersion.
    Delete,
    /// Change an object, if it is in the expected state.
    Patch,
}

/// The request that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestContext<'a> {
    pub(crate) intent: Intent,
    /// The verb, as in RBAC: `create`, `list`.
    pub(crate) verb: &'a str,
    /// The resource, as in RBAC: `pods`, `pods/portforward`.
    pub(crate) resource: &'a str,
    pub(crate) namespace: &'a str,
    /// The sandbox; `None` for a list.
    pub(crate) id: Option<&'a SandboxId>,
    /// The number of earlier attempts.
    pub(crate) attempt: u32,
}

/// A response that is not a success, or none at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FailedResponse<'a> {
    /// The HTTP status code; `None` if there was no response.
    pub(crate) code: Option<u16>,
    /// The status object in the body.
    pub(crate) status: Option<&'a Status>,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

impl FailedResponse<'_> {
    /// The server's message, or an empty string.
    pub(super) fn message(&self) -> &str {
        self.status
            .and_then(|status| status.message.as_deref())
            .unwrap_or_default()
    }

    /// How long the server asks to wait, in the header or in the status object.
    pub(super) fn requested_wait(&self) -> Option<Duration> {
        let details = self.status.and_then(|status| status.details.as_ref());
        let seconds = details.and_then(|details| u64::try_from(details.retry_after_seconds?).ok());
        let requested = self.retry_after.max(seconds.map(Duration::from_secs));
        requested
            .filter(|wait| !wait.is_zero())
            .map(|wait| wait.min(MAX_RETRY_AFTER))
    }

    /// How long a retry waits: what the server asks for, but at most [`MAX_WAIT`].
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.requested_wait().map(|wait| wait.min(MAX_WAIT))
    }
}
