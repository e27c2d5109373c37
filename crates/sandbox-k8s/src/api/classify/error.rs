//! Answers as errors.

use std::time::Duration;

use sandbox_core::{BoxError, CreationError, CreationReason, CreationStage, Error, RetryAfter};

use super::exchange::{Answer, Intent, Request};
use super::forbidden::{Cause, advice};

/// The error when attempts have come to an end: what was answered last. Its cause says when to
/// come back.
pub(crate) fn give_up(request: &Request<'_>, answer: &Answer<'_>) -> Error {
    let said = match (answer.code, answer.message()) {
        (None, _) => {
            "the API server does not answer: see that the cluster is up and that the context leads to it"
                .to_owned()
        }
        (Some(code), "") => format!("the API server answered {code}"),
        (Some(code), message) => format!("the API server answered {code}: {message}"),
    };
    let after = answer.asked().unwrap_or(Duration::from_secs(1));
    let cause = Box::new(RetryAfter {
        after,
        source: None,
    });
    error(request, CreationReason::Unavailable, said, Some(cause))
}

/// How the error begins that says so.
pub(crate) const NO_NAMESPACE: &str = "there is no namespace";

/// How the message begins that a right is missing.
pub(crate) const NO_RIGHT: &str = "no right to";

/// What was to be found is not there.
pub(super) fn missing(request: &Request<'_>, answer: &Answer<'_>) -> Error {
    if request.intent == Intent::Create || answer.message().contains("namespaces \"") {
        return Error::Config {
            message: format!(
                "{NO_NAMESPACE} {}: make it, or set another as SANDBOX_NAMESPACE",
                request.namespace
            ),
        };
    }
    match request.id {
        Some(id) => Error::NotFound { id: id.clone() },
        None => error(request, CreationReason::Other, said(answer), None),
    }
}

pub(super) fn forbidden(request: &Request<'_>, answer: &Answer<'_>, cause: &Cause) -> Error {
    let Request {
        verb,
        resource,
        namespace,
        ..
    } = request;
    let message = answer.message();
    let (reason, text) = match cause {
        Cause::Quota => (CreationReason::Quota, advised(message)),
        Cause::PodSecurity => (
            CreationReason::Rejected,
            format!(
                "{message} (the namespace asks for more than the security profile or the Pod patch gives)"
            ),
        ),
        Cause::NamespaceEnds => (
            CreationReason::Rejected,
            format!("the namespace {namespace} is being removed: choose another"),
        ),
        Cause::Policy | Cause::NotYet => (CreationReason::Rejected, advised(message)),
        Cause::Rbac => (
            CreationReason::Rejected,
            format!(
                "{NO_RIGHT} {verb} {resource} in the namespace {namespace}: grant it with a Role and a \
                 RoleBinding{}",
                if message.is_empty() {
                    String::new()
                } else {
                    format!(" ({message})")
                }
            ),
        ),
    };
    error(request, reason, text, None)
}

fn advised(message: &str) -> String {
    advice(message).map_or_else(
        || message.to_owned(),
        |advice| format!("{message} ({advice})"),
    )
}

pub(super) fn unauthenticated(request: &Request<'_>) -> Error {
    let text = "the API server does not accept the credentials: they may have expired; log in again, or check the \
                kubeconfig";
    error(request, CreationReason::Rejected, text.into(), None)
}

/// Everything else that is no use trying again.
pub(super) fn refused(request: &Request<'_>, answer: &Answer<'_>) -> Error {
    // A server that kept failing may be well again later; one that finds fault with us will not.
    if answer.code.is_some_and(|code| code >= 500) {
        let cause = Box::new(RetryAfter {
            after: Duration::from_secs(1),
            source: None,
        });
        return error(
            request,
            CreationReason::Unavailable,
            said(answer),
            Some(cause),
        );
    }
    error(request, CreationReason::Rejected, said(answer), None)
}

fn said(answer: &Answer<'_>) -> String {
    match (answer.message(), answer.code) {
        ("", Some(code)) => format!("the API server answered {code}"),
        ("", None) => "the API server does not answer".into(),
        (message, _) => message.to_owned(),
    }
}

/// With a cause that says when to come back, it may be worth it.
fn error(
    request: &Request<'_>,
    reason: CreationReason,
    message: String,
    source: Option<BoxError>,
) -> Error {
    match (request.intent, request.id) {
        (Intent::Create, Some(id)) => CreationError {
            id: id.clone(),
            stage: CreationStage::Provision,
            reason,
            message,
            events: Vec::new(),
            log_tail: String::new(),
            source,
        }
        .into(),
        (Intent::Delete, Some(id)) => Error::Deletion {
            id: id.clone(),
            message,
            source,
        },
        (intent, _) => Error::Backend {
            backend: "k8s",
            operation: match intent {
                Intent::Read => "read from the API server",
                Intent::Create => "create an object",
                Intent::Delete => "delete an object",
                Intent::Patch => "change an object",
            },
            message,
            transient: source.is_some(),
            source,
        },
    }
}
