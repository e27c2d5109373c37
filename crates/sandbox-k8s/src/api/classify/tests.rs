use super::exchange::MAX_RETRY_AFTER;
use super::*;
use Intent::{Continue, Create, Delete, Patch, Read};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::{CreationReason, Error};

use crate::api::failure::FailureCause;
use serde_json::json;

fn decide(intent: Intent, code: u16, reason: &str, message: &str, attempt: u32) -> NextStep {
    let status: Status =
        serde_json::from_value(json!({"code": code, "reason": reason, "message": message}))
            .unwrap();
    let id = "sbx-a".parse().unwrap();
    let verb = match intent {
        Read => "get",
        Continue => "list",
        Create => "create",
        Delete => "delete",
        Patch => "patch",
    };
    let request = RequestContext {
        intent,
        verb,
        resource: "pods",
        namespace: "ns",
        id: Some(&id),
        attempt,
    };
    classify(
        &request,
        &FailedResponse {
            code: Some(code),
            status: Some(&status),
            retry_after: None,
        },
    )
}

/// The decision in one letter: Retry, check the Nonce, Gone already, Conflict, Expired, Denied,
/// Permanent.
fn letter(next: &NextStep) -> char {
    match next {
        NextStep::Retry { .. } => 'R',
        NextStep::CheckNonce => 'N',
        NextStep::Missing => 'G',
        NextStep::Conflict => 'C',
        NextStep::Expired => 'E',
        NextStep::Denied(_) => 'D',
        NextStep::Permanent(_) => 'P',
    }
}

#[test]
fn intents_decide_what_a_response_means() {
    for (code, reason, decisions) in [
        // read, continue, create, delete, patch
        (429, "TooManyRequests", "RRRRR"),
        (503, "ServiceUnavailable", "RRRRR"),
        (504, "Timeout", "RRRRR"),
        (502, "", "RRRRR"),
        (408, "", "RRRRR"),
        (500, "InternalError", "RRRRR"),
        (409, "AlreadyExists", "PPNPC"),
        (409, "Conflict", "PPRPC"),
        (422, "Invalid", "PPPPC"),
        (404, "NotFound", "PPPGP"),
        (410, "Expired", "REPGP"),
        (401, "Unauthorized", "DDDDD"),
        (403, "Forbidden", "DDDDD"),
        (400, "BadRequest", "PPPPP"),
        (405, "MethodNotAllowed", "PPPPP"),
        (413, "RequestEntityTooLarge", "PPPPP"),
    ] {
        let found: String = [Read, Continue, Create, Delete, Patch]
            .iter()
            .map(|intent| letter(&decide(*intent, code, reason, "", 0)))
            .collect();
        assert_eq!(found, decisions, "{code} {reason}");
    }
}

#[test]
fn a_lost_response_is_retried_and_given_up_with_a_cause() {
    let id = "sbx-a".parse().unwrap();
    for intent in [Read, Continue, Create, Delete, Patch] {
        let request = RequestContext {
            intent,
            verb: "get",
            resource: "pods",
            namespace: "ns",
            id: Some(&id),
            attempt: 99,
        };
        assert_eq!(letter(&classify(&request, &FailedResponse::default())), 'R');
        let error = give_up(&request, &FailedResponse::default());
        assert!(
            error.to_string().contains("does not respond") && error.is_retryable(),
            "{error}"
        );
    }
}

#[test]
fn internal_errors_are_retried_twice() {
    let letters: String = (0..4)
        .map(|attempt| letter(&decide(Create, 500, "InternalError", "etcd", attempt)))
        .collect();
    assert_eq!(letters, "RRPP");
    let NextStep::Permanent(Failure { error, .. }) =
        decide(Read, 500, "InternalError", "etcd is away", 2)
    else {
        panic!()
    };
    assert!(
        error.is_retryable() && error.to_string().contains("etcd is away"),
        "{error}"
    );
}

#[test]
fn a_delete_distinguishes_another_instance_from_a_change() {
    let other = "Operation cannot be fulfilled on pods \"x\": the UID in the precondition (a) does not match the \
                 UID in record (b). The object might have been deleted and then recreated";
    let changed = "Operation cannot be fulfilled on pods \"x\": the ResourceVersion in the precondition (1) does \
                   not match the ResourceVersion in record (2). The object might have been modified";
    for (message, expected) in [
        (other, 'G'),
        (changed, 'C'),
        (
            "Precondition failed: UID in precondition: a, UID in object meta: b",
            'G',
        ),
        (
            "Precondition failed: ResourceVersion in precondition: 1, ResourceVersion in object meta: 2",
            'C',
        ),
        (
            "Operation cannot be fulfilled on pods \"x\": the object has been modified",
            'R',
        ),
        (
            "admission webhook \"keep.example.com\" denied the request: it is protected",
            'P',
        ),
        ("", 'P'),
    ] {
        assert_eq!(
            letter(&decide(Delete, 409, "Conflict", message, 0)),
            expected,
            "{message}"
        );
    }
}

#[test]
fn a_wait_is_read_from_both_places_and_capped() {
    let id = "sbx-a".parse().unwrap();
    let request = RequestContext {
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
        (Some(seconds(86_400)), None, Some(MAX_WAIT)),
        (Some(Duration::MAX), None, Some(MAX_WAIT)),
        (None, Some(i32::MAX), Some(MAX_WAIT)),
        (None, Some(-5), None),
        (Some(Duration::ZERO), Some(0), None),
    ] {
        let status: Status =
            serde_json::from_value(json!({"details": {"retryAfterSeconds": body}})).unwrap();
        let response = FailedResponse {
            code: Some(429),
            status: Some(&status),
            retry_after: header,
        };
        let NextStep::Retry { after } = classify(&request, &response) else {
            panic!()
        };
        assert_eq!(after, expected, "{header:?} {body:?}");
    }
}

#[test]
fn giving_up_says_when_to_retry() {
    let id = "sbx-a".parse().unwrap();
    for intent in [Read, Continue, Create, Delete, Patch] {
        let request = RequestContext {
            intent,
            verb: "v",
            resource: "pods",
            namespace: "ns",
            id: Some(&id),
            attempt: 0,
        };
        let asked = |seconds| {
            let response = FailedResponse {
                code: Some(429),
                status: None,
                retry_after: Some(Duration::from_secs(seconds)),
            };
            give_up(&request, &response).retry_after()
        };
        assert_eq!(asked(40), Some(Duration::from_secs(40)), "{intent:?}");
        assert_eq!(asked(u64::MAX), Some(MAX_RETRY_AFTER), "{intent:?}");
    }
}

#[test]
fn waits_grow_and_stay_bounded() {
    assert_eq!(backoff(0), Duration::from_millis(50));
    assert!((0..200).all(|attempt| backoff(attempt) <= backoff(attempt + 1)));
    assert_eq!(backoff(u32::MAX), MAX_WAIT);
}

#[test]
fn a_403_names_what_forbids_the_request() {
    let quota = "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4";
    let secured =
        "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true";
    let user = "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ns\"";
    for (message, reason, text) in [
        (quota, CreationReason::Quota, "limited: pods=4"),
        (secured, CreationReason::Rejected, "security profile"),
        (
            user,
            CreationReason::Rejected,
            "no permission to create pods in the namespace ns",
        ),
        (
            "admission webhook \"w\" denied the request: no",
            CreationReason::Rejected,
            "denied the request: no",
        ),
        (
            "unable to create new content in namespace ns because it is being terminated",
            CreationReason::Rejected,
            "being deleted",
        ),
    ] {
        let Failure { error, cause } = match decide(Create, 403, "Forbidden", message, 0) {
            NextStep::Denied(failure) if message == user => failure,
            NextStep::Permanent(failure) if message != user => failure,
            other => panic!("{other:?}"),
        };
        assert_eq!(cause == FailureCause::NoPermission, message == user);
        let Error::Creation(creation) = &error else {
            panic!("{error}")
        };
        assert_eq!(creation.reason, reason);
        assert!(error.to_string().contains(text), "{error}");
    }
    let fresh = "pods \"x\" is forbidden: error looking up service account ns/default: serviceaccount \"default\" not found";
    assert_eq!(letter(&decide(Create, 403, "Forbidden", fresh, 0)), 'R');
    let NextStep::Denied(Failure { error, .. }) = decide(Read, 403, "Forbidden", "", 0) else {
        panic!()
    };
    assert!(
        error.to_string().contains("no permission to get pods") && !error.is_retryable(),
        "{error}"
    );
}

#[test]
fn a_missing_object_is_named() {
    let error = |intent, message: &str| match decide(intent, 404, "NotFound", message, 0) {
        NextStep::Permanent(Failure { error, cause }) => {
            let has_namespace = !message.starts_with("namespaces");
            assert_eq!(cause == FailureCause::NoObject, has_namespace);
            assert_eq!(cause == FailureCause::NoNamespace, !has_namespace);
            error
        }
        other => panic!("{other:?}"),
    };
    assert!(
        matches!(error(Create, "namespaces \"ns\" not found"), Error::Config { message } if message.contains("namespace ns"))
    );
    assert!(matches!(
        error(Read, "pods \"sbx-a\" not found"),
        Error::NotFound { .. }
    ));
    assert!(matches!(
        error(Patch, "pods \"sbx-a\" not found"),
        Error::NotFound { .. }
    ));
    let NextStep::Denied(Failure { error: expired, .. }) =
        decide(Delete, 401, "Unauthorized", "Unauthorized", 0)
    else {
        panic!()
    };
    assert!(matches!(expired, Error::Deletion { .. }) && expired.to_string().contains("expired"));
}
