//! A request and its answer, as far as they are judged.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::SandboxId;

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Get, list or watch.
    Read,
    /// Create an object whose name and nonce are ours.
    Create,
    /// Delete an object of a certain uid, and perhaps of a certain resourceVersion.
    Delete,
    /// Change an object, if it is still as it was.
    Patch,
}

/// A request, as far as an answer is judged by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    /// What was being done.
    pub(crate) intent: Intent,
    /// The verb, as RBAC has it: `create`, `list`.
    pub(crate) verb: &'a str,
    /// The resource, as RBAC has it: `pods`, `pods/portforward`.
    pub(crate) resource: &'a str,
    /// Where.
    pub(crate) namespace: &'a str,
    /// For which sandbox; none for a list.
    pub(crate) id: Option<&'a SandboxId>,
    /// How many times it was sent before.
    pub(crate) attempt: u32,
}

/// An answer that is not a success, or none at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answer<'a> {
    /// The HTTP status code; `None` when no answer came.
    pub(crate) code: Option<u16>,
    /// The body, where it was one.
    pub(crate) status: Option<&'a Status>,
    /// The header `Retry-After`.
    pub(crate) retry_after: Option<Duration>,
}

/// No server makes us wait for longer than this.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// And no caller is told to come back later than this.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(3600);

impl Answer<'_> {
    /// What the server says, or its code.
    pub(super) fn message(&self) -> &str {
        self.status
            .and_then(|status| status.message.as_deref())
            .unwrap_or_default()
    }

    /// How long the server asks to wait, in whichever place it says so.
    pub(super) fn asked(&self) -> Option<Duration> {
        let details = self.status.and_then(|status| status.details.as_ref());
        let seconds = details.and_then(|details| u64::try_from(details.retry_after_seconds?).ok());
        let asked = self.retry_after.max(seconds.map(Duration::from_secs));
        asked
            .filter(|asked| !asked.is_zero())
            .map(|asked| asked.min(LONGEST_ASKED))
    }

    /// The same, as far as we do it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.asked().map(|asked| asked.min(LONGEST_WAIT))
    }
}
