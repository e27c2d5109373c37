//! What an answer of the API server means for what was being done.
//!
//! The same answer means different things: a conflict on a create may be our own object, stored
//! by an attempt whose answer was lost; on a delete it means that what was meant is gone. So the
//! decision is taken here, from the [`Intent`], and not by a retry layer that knows only codes.
//! Nothing is sent from here: the caller waits, sends again, and gives up at its deadline.

mod error;
mod forbidden;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::{Error, SandboxId};

pub use error::give_up;
pub(crate) use error::{NO_NAMESPACE, NO_RIGHT};

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Intent {
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
pub struct Request<'a> {
    /// What was being done.
    pub intent: Intent,
    /// The verb, as RBAC has it: `create`, `list`.
    pub verb: &'a str,
    /// The resource, as RBAC has it: `pods`, `pods/portforward`.
    pub resource: &'a str,
    /// Where.
    pub namespace: &'a str,
    /// For which sandbox; none for a list.
    pub id: Option<&'a SandboxId>,
    /// How many times it was sent before.
    pub attempt: u32,
}

/// An answer that is not a success, or none at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The HTTP status code; `None` when no answer came.
    pub code: Option<u16>,
    /// The body, where it was one.
    pub status: Option<&'a Status>,
    /// The header `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// What to do next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Next {
    /// Wait and send it again, by the deadline; then [`give_up`].
    Retry {
        /// What the server asks for, at most [`LONGEST_WAIT`]; otherwise a random part of
        /// [`backoff`].
        after: Option<Duration>,
    },
    /// An object of that name exists. Get it: with our nonce it is ours and the create
    /// succeeded, otherwise it is [`Error::AlreadyExists`].
    CheckNonce,
    /// It does not exist any more, or another has its name: as wished.
    AlreadyGone,
    /// It is not as it was: look again before deciding anew, by the deadline. A patch that can
    /// never apply looks the same, so that the number of such rounds is the caller's to bound.
    Changed,
    /// We may not do it, or are not known. It will not work, unless the API server has only just
    /// started: then it says so to everybody.
    Denied(Error),
    /// It will not work.
    Permanent(Error),
}

/// No server makes us wait for longer than this.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// And no caller is told to come back later than this.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// A server that fails in itself is asked so many times again.
const RETRIES_OF_FAILURE: u32 = 2;

/// The longest wait before another attempt; the wait itself is chosen at random up to it, so
/// that clients that failed together do not come back together.
pub fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(50)
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_WAIT)
}

/// Decides.
pub fn classify(request: &Request<'_>, answer: &Answer<'_>) -> Next {
    let retry = || Next::Retry {
        after: answer.wait(),
    };
    let Some(code) = answer.code else {
        return retry();
    };
    let permanent = |error| Next::Permanent(error);
    match code {
        408 | 429 | 502..=504 => retry(),
        500 if request.attempt < RETRIES_OF_FAILURE => retry(),
        // A list that was cut in pieces has expired; a new one begins.
        410 if request.intent == Intent::Read => retry(),
        404 | 410 => match request.intent {
            Intent::Delete => Next::AlreadyGone,
            _ => permanent(error::missing(request, answer)),
        },
        409 => conflict(request, answer),
        422 if request.intent == Intent::Patch => Next::Changed,
        403 => match forbidden::cause(answer.message()) {
            forbidden::Cause::NotYet => retry(),
            cause @ forbidden::Cause::Rbac => {
                Next::Denied(error::forbidden(request, answer, &cause))
            }
            cause => permanent(error::forbidden(request, answer, &cause)),
        },
        401 => Next::Denied(error::unauthenticated(request)),
        _ => permanent(error::refused(request, answer)),
    }
}

fn conflict(request: &Request<'_>, answer: &Answer<'_>) -> Next {
    let reason = answer
        .status
        .and_then(|status| status.reason.as_deref())
        .unwrap_or_default();
    let says = |sign| answer.message().contains(sign);
    match request.intent {
        // Not the object: a quota that two creates wrote to at once.
        Intent::Create if reason == "Conflict" => Next::Retry {
            after: answer.wait(),
        },
        Intent::Create => Next::CheckNonce,
        // Both preconditions come in two wordings: "the UID in the precondition (…)" and
        // "Precondition failed: UID in precondition: …".
        Intent::Delete if says("ResourceVersion in ") => Next::Changed,
        Intent::Delete if says("UID in ") => Next::AlreadyGone,
        Intent::Delete if says("the object has been modified") => Next::Retry {
            after: answer.wait(),
        },
        Intent::Patch => Next::Changed,
        // Of a delete: a webhook that denies it, say. What was to be deleted is there still.
        Intent::Delete | Intent::Read => Next::Permanent(error::refused(request, answer)),
    }
}

impl Answer<'_> {
    /// What the server says, or its code.
    fn message(&self) -> &str {
        self.status
            .and_then(|status| status.message.as_deref())
            .unwrap_or_default()
    }

    /// How long the server asks to wait, in whichever place it says so.
    fn asked(&self) -> Option<Duration> {
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

#[cfg(test)]
mod tests;
