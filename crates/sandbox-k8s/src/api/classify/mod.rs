//! What an answer of the API server means for what was being done.
//!
//! The same answer means different things: a conflict on a create may be our own object, stored
//! by an attempt whose answer was lost; on a delete it means that what was meant is gone. So the
//! decision is taken here, from the [`Intent`], and not by a retry layer that knows only codes.
//! Nothing is sent from here: the caller waits, sends again, and gives up at its deadline.

mod error;
mod exchange;
mod forbidden;

use std::time::Duration;

use sandbox_core::Error;

pub(crate) use error::give_up;
pub(crate) use error::{NO_NAMESPACE, NO_RIGHT};
use exchange::LONGEST_WAIT;

pub(crate) use exchange::{Answer, Intent, Request};

/// What to do next.
#[derive(Debug)]
pub(crate) enum Next {
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
/// A server that fails in itself is asked so many times again.
const RETRIES_OF_FAILURE: u32 = 2;

/// The longest wait before another attempt; the wait itself is chosen at random up to it, so
/// that clients that failed together do not come back together.
pub(crate) fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(50)
        .saturating_mul(1 << attempt.min(10))
        .min(LONGEST_WAIT)
}

/// Decides.
pub(crate) fn classify(request: &Request<'_>, answer: &Answer<'_>) -> Next {
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

#[cfg(test)]
mod tests;
