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
    Duration::from_millis(50).saturating_mul(1 << attempt.min(10)).min(LONGEST_WAIT)
}

/// Decides.
pub fn classify(request: &Request<'_>, answer: &Answer<'_>) -> Next {
    let retry = || Next::Retry { after: answer.wait() };
    let Some(code) = answer.code else { return retry() };
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
            cause => permanent(error::forbidden(request, answer, &cause)),
        },
        401 => permanent(error::unauthenticated(request)),
        _ => permanent(error::refused(request, answer)),
    }
}

fn conflict(request: &Request<'_>, answer: &Answer<'_>) -> Next {
    let reason = answer.status.and_then(|status| status.reason.as_deref()).unwrap_or_default();
    match request.intent {
        // Not the object: a quota that two creates wrote to at once.
        Intent::Create if reason == "Conflict" => Next::Retry { after: answer.wait() },
        Intent::Create => Next::CheckNonce,
        Intent::Delete if answer.message().contains("ResourceVersion in the precondition") => Next::Changed,
        Intent::Delete => Next::AlreadyGone,
        Intent::Patch => Next::Changed,
        Intent::Read => Next::Permanent(error::refused(request, answer)),
    }
}

impl Answer<'_> {
    /// What the server says, or its code.
    fn message(&self) -> &str {
        self.status.and_then(|status| status.message.as_deref()).unwrap_or_default()
    }

    /// How long the server asks to wait, in whichever place it says so.
    fn asked(&self) -> Option<Duration> {
        let details = self.status.and_then(|status| status.details.as_ref());
        let seconds = details.and_then(|details| u64::try_from(details.retry_after_seconds?).ok());
        let asked = self.retry_after.max(seconds.map(Duration::from_secs));
        asked.filter(|asked| !asked.is_zero()).map(|asked| asked.min(LONGEST_ASKED))
    }

    /// The same, as far as we do it.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.asked().map(|asked| asked.min(LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Intent::{Create, Delete, Patch, Read};
    use sandbox_core::CreationReason;
    use serde_json::json;

    fn decide(intent: Intent, code: u16, reason: &str, message: &str, attempt: u32) -> Next {
        let status: Status =
            serde_json::from_value(json!({"code": code, "reason": reason, "message": message})).unwrap();
        let id = "sbx-a".parse().unwrap();
        let verb = match intent {
            Read => "get",
            Create => "create",
            Delete => "delete",
            Patch => "patch",
        };
        let request = Request { intent, verb, resource: "pods", namespace: "ns", id: Some(&id), attempt };
        classify(&request, &Answer { code: Some(code), status: Some(&status), retry_after: None })
    }

    /// The decision in one letter: Retry, check the Nonce, already Gone, Changed, Permanent.
    fn letter(next: &Next) -> char {
        match next {
            Next::Retry { .. } => 'R',
            Next::CheckNonce => 'N',
            Next::AlreadyGone => 'G',
            Next::Changed => 'C',
            Next::Permanent(_) => 'P',
        }
    }

    #[test]
    fn the_same_answer_means_what_the_intent_makes_of_it() {
        for (code, reason, decisions) in [
            // read, create, delete, patch
            (429, "TooManyRequests", "RRRR"),
            (503, "ServiceUnavailable", "RRRR"),
            (504, "Timeout", "RRRR"),
            (502, "", "RRRR"),
            (408, "", "RRRR"),
            (500, "InternalError", "RRRR"),
            (409, "AlreadyExists", "PNGC"),
            (409, "Conflict", "PRGC"),
            (422, "Invalid", "PPPC"),
            (404, "NotFound", "PPGP"),
            (410, "Expired", "RPGP"),
            (401, "Unauthorized", "PPPP"),
            (403, "Forbidden", "PPPP"),
            (400, "BadRequest", "PPPP"),
            (405, "MethodNotAllowed", "PPPP"),
            (413, "RequestEntityTooLarge", "PPPP"),
        ] {
            let found: String = [Read, Create, Delete, Patch]
                .iter()
                .map(|intent| letter(&decide(*intent, code, reason, "", 0)))
                .collect();
            assert_eq!(found, decisions, "{code} {reason}");
        }
    }

    #[test]
    fn no_answer_is_tried_again_and_given_up_with_a_cause() {
        let id = "sbx-a".parse().unwrap();
        for intent in [Read, Create, Delete, Patch] {
            let request = Request {
                intent,
                verb: "get",
                resource: "pods",
                namespace: "ns",
                id: Some(&id),
                attempt: 99,
            };
            assert_eq!(letter(&classify(&request, &Answer::default())), 'R');
            let error = give_up(&request, &Answer::default());
            assert!(error.to_string().contains("does not answer") && error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn a_failing_server_is_asked_twice_again() {
        let letters: String =
            (0..4).map(|attempt| letter(&decide(Create, 500, "InternalError", "etcd", attempt))).collect();
        assert_eq!(letters, "RRPP");
        let Next::Permanent(error) = decide(Read, 500, "InternalError", "etcd is away", 2) else { panic!() };
        assert!(error.is_retryable() && error.to_string().contains("etcd is away"), "{error}");
    }

    #[test]
    fn a_delete_tells_another_instance_from_a_change() {
        let other = "Operation cannot be fulfilled on pods \"x\": the UID in the precondition (a) does not match the \
                     UID in record (b). The object might have been deleted and then recreated";
        let changed = "Operation cannot be fulfilled on pods \"x\": the ResourceVersion in the precondition (1) does \
                       not match the ResourceVersion in record (2). The object might have been modified";
        assert_eq!(letter(&decide(Delete, 409, "Conflict", other, 0)), 'G');
        assert_eq!(letter(&decide(Delete, 409, "Conflict", changed, 0)), 'C');
    }

    #[test]
    fn a_wait_is_taken_from_either_place_and_capped() {
        let id = "sbx-a".parse().unwrap();
        let request = Request {
            intent: Read,
            verb: "get",
            resource: "pods",
            namespace: "ns",
            id: Some(&id),
            attempt: 0,
        };
        let seconds = Duration::from_secs;
        for (header, body, expected) in [
            (None, None, None),
            (Some(seconds(3)), None, Some(seconds(3))),
            (None, Some(2), Some(seconds(2))),
            (Some(seconds(1)), Some(2), Some(seconds(2))),
            (Some(seconds(86_400)), None, Some(LONGEST_WAIT)),
            (Some(Duration::MAX), None, Some(LONGEST_WAIT)),
            (None, Some(i32::MAX), Some(LONGEST_WAIT)),
            (None, Some(-5), None),
            (Some(Duration::ZERO), Some(0), None),
        ] {
            let status: Status =
                serde_json::from_value(json!({"details": {"retryAfterSeconds": body}})).unwrap();
            let answer = Answer { code: Some(429), status: Some(&status), retry_after: header };
            let Next::Retry { after } = classify(&request, &answer) else { panic!() };
            assert_eq!(after, expected, "{header:?} {body:?}");
        }
    }

    #[test]
    fn who_gives_up_tells_when_to_come_back() {
        let id = "sbx-a".parse().unwrap();
        for intent in [Read, Create, Delete, Patch] {
            let request =
                Request { intent, verb: "v", resource: "pods", namespace: "ns", id: Some(&id), attempt: 0 };
            let asked = |seconds| {
                let answer =
                    Answer { code: Some(429), status: None, retry_after: Some(Duration::from_secs(seconds)) };
                give_up(&request, &answer).retry_after()
            };
            assert_eq!(asked(40), Some(Duration::from_secs(40)), "{intent:?}");
            assert_eq!(asked(u64::MAX), Some(LONGEST_ASKED), "{intent:?}");
        }
    }

    #[test]
    fn waits_grow_and_stay_bounded() {
        assert_eq!(backoff(0), Duration::from_millis(50));
        assert!((0..200).all(|attempt| backoff(attempt) <= backoff(attempt + 1)));
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn a_403_says_who_forbids_it() {
        let quota =
            "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4";
        let secured =
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
        let user = "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ns\"";
        for (message, reason, said) in [
            (quota, CreationReason::Quota, "limited: pods=4"),
            (secured, CreationReason::Rejected, "security profile"),
            (user, CreationReason::Rejected, "no right to create pods in the namespace ns"),
            (
                "admission webhook \"w\" denied the request: no",
                CreationReason::Rejected,
                "denied the request: no",
            ),
            (
                "unable to create new content in namespace ns because it is being terminated",
                CreationReason::Rejected,
                "being removed",
            ),
        ] {
            let Next::Permanent(error) = decide(Create, 403, "Forbidden", message, 0) else { panic!() };
            let Error::Creation(creation) = &error else { panic!("{error}") };
            assert_eq!(creation.reason, reason);
            assert!(error.to_string().contains(said), "{error}");
        }
        let fresh = "pods \"x\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found";
        assert_eq!(letter(&decide(Create, 403, "Forbidden", fresh, 0)), 'R');
        let Next::Permanent(error) = decide(Read, 403, "Forbidden", "", 0) else { panic!() };
        assert!(error.to_string().contains("no right to get pods") && !error.is_retryable(), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |intent, message: &str| match decide(intent, 404, "NotFound", message, 0) {
            Next::Permanent(error) => error,
            other => panic!("{other:?}"),
        };
        assert!(
            matches!(error(Create, "namespaces \"ns\" not found"), Error::Config { message } if message.contains("namespace ns"))
        );
        assert!(matches!(error(Read, "pods \"sbx-a\" not found"), Error::NotFound { .. }));
        assert!(matches!(error(Patch, "pods \"sbx-a\" not found"), Error::NotFound { .. }));
        let Next::Permanent(expired) = decide(Delete, 401, "Unauthorized", "Unauthorized", 0) else {
            panic!()
        };
        assert!(matches!(expired, Error::Deletion { .. }) && expired.to_string().contains("expired"));
    }
}
