//! Decides what a failed response of the API server means for the operation.
//!
//! The same response means different things. A conflict on a create may be the client's own object,
//! stored by an attempt whose response was lost; on a delete it can mean that another
//! instance has the name, that the object changed, or that a webhook denied it. So the decision is made from
//! the [`Intent`], and not in a retry layer that knows only status codes. This module sends nothing: the client waits, retries, and gives up at its deadline.

mod error;
mod exchange;
mod forbidden;

use std::time::Duration;

use exchange::MAX_WAIT;

use super::failure::Failure;

pub(crate) use error::{NO_NAMESPACE, give_up, untrusted};
pub(crate) use exchange::{FailedResponse, Intent, RequestContext};

/// What to do after a failed response.
#[derive(Debug)]
pub(crate) enum NextStep {
    /// Wait and send the request again, until the deadline; then [`give_up`].
    Retry {
        /// What the server asks for, at most [`MAX_WAIT`]; otherwise a random part of [`backoff`].
        after: Option<Duration>,
    },
    /// An object of that name exists. Get it: with the nonce of this create, the create has succeeded;
    /// otherwise the result is [`Error::AlreadyExists`].
    CheckNonce,
    /// The object to delete does not exist any more, or another one has its name. The delete has
    /// nothing left to do.
    Missing,
    /// The object is not in the expected state. Read it again and decide again, until the deadline. A
    /// patch that can never apply gets the same response, so the caller has to limit the rounds.
    Conflict,
    /// The version that a list began with is not kept any more. The list starts again.
    Expired,
    /// The client lacks a permission or is unknown. A retry does not help, unless the API server has
    /// only just started: then it denies every request.
    Denied(Failure),
    /// A retry does not help.
    Permanent(Failure),
}

/// How often a request is retried that fails inside the server.
const MAX_RETRIES_OF_INTERNAL_ERRORS: u32 = 2;

/// Returns the longest wait before a retry. The wait itself is a random part of it, so that clients that
/// failed together do not retry together.
pub(crate) fn backoff(attempt: u32) -> Duration {
    Duration::from_millis(50)
        .saturating_mul(1 << attempt.min(10))
        .min(MAX_WAIT)
}

/// Decides what a failed response means for the request.
pub(crate) fn classify(request: &RequestContext<'_>, response: &FailedResponse<'_>) -> NextStep {
    let retry = || NextStep::Retry {
        after: response.wait(),
    };
    let Some(code) = response.code else {
        return retry();
    };
    let permanent = NextStep::Permanent;
    match code {
        408 | 429 | 502..=504 => retry(),
        500 if request.attempt < MAX_RETRIES_OF_INTERNAL_ERRORS => retry(),
        410 if request.intent == Intent::Continue => NextStep::Expired,
        410 if request.intent == Intent::Read => retry(),
        404 | 410 => match request.intent {
            Intent::Delete => NextStep::Missing,
            Intent::Read | Intent::Continue | Intent::Create | Intent::Patch => {
                permanent(error::missing(request, response))
            }
        },
        409 => conflict(request, response),
        422 if request.intent == Intent::Patch => NextStep::Conflict,
        403 => match forbidden::find_cause(response.message()) {
            forbidden::Cause::NotYet => retry(),
            cause @ forbidden::Cause::Rbac => {
                NextStep::Denied(error::forbidden(request, response, &cause))
            }
            cause => permanent(error::forbidden(request, response, &cause)),
        },
        401 => NextStep::Denied(error::unauthenticated(request).into()),
        _ => permanent(error::refused(request, response).into()),
    }
}

fn conflict(request: &RequestContext<'_>, response: &FailedResponse<'_>) -> NextStep {
    let reason = response
        .status
        .and_then(|status| status.reason.as_deref())
        .unwrap_or_default();
    let says = |sign| response.message().contains(sign);
    match request.intent {
        // Not about the object: two creates updated the same quota at the same time.
        Intent::Create if reason == "Conflict" => NextStep::Retry {
            after: response.wait(),
        },
        Intent::Create => NextStep::CheckNonce,
        // Both preconditions have two wordings: "the UID in the precondition (…)" and
        // "Precondition failed: UID in precondition: …".
        Intent::Delete if says("ResourceVersion in ") => NextStep::Conflict,
        Intent::Delete if says("UID in ") => NextStep::Missing,
        Intent::Delete if says("the object has been modified") => NextStep::Retry {
            after: response.wait(),
        },
        Intent::Patch => NextStep::Conflict,
        // A delete that was denied, for example by a webhook: the object still exists.
        Intent::Delete | Intent::Read | Intent::Continue => {
            NextStep::Permanent(error::refused(request, response).into())
        }
    }
}

#[cfg(test)]
mod tests;
