//! Errors for failed responses.

use std::time::Duration;

use sandbox_core::{BoxError, CreationError, CreationReason, CreationStage, Error, RetryAfter};

use super::exchange::{FailedResponse, Intent, RequestContext};
use super::forbidden::{Cause, hint};
use crate::api::failure::{Failure, FailureCause};
use crate::api::lost::LostConnection;

/// Returns the error of an operation whose retries have ended: the last response, with a cause that says
/// when to try again.
pub(crate) fn give_up(request: &RequestContext<'_>, response: &FailedResponse<'_>) -> Error {
    let message = match (response.code, response.message()) {
        (None, _) => {
            "the API server does not respond: check that the cluster is up and that the kubeconfig context points to it"
                .to_owned()
        }
        (Some(code), "") => format!("the API server returned status {code}"),
        (Some(code), message) => format!("the API server returned status {code}: {message}"),
    };
    let after = response.requested_wait().unwrap_or(Duration::from_secs(1));
    let cause = Box::new(RetryAfter {
        after,
        source: None,
    });
    error(request, CreationReason::Unavailable, message, Some(cause))
}

/// Returns the error of a request that was not sent, because the API server's certificate was refused.
pub(crate) fn untrusted(request: &RequestContext<'_>, lost: &LostConnection) -> Error {
    let text = format!(
        "{lost}: check the server, certificate-authority and tls-server-name of the kubeconfig, and the clock"
    );
    error(request, CreationReason::Rejected, text, None)
}

/// The start of the error for a missing namespace.
pub(crate) const NO_NAMESPACE: &str = "there is no namespace";

/// The object or its namespace does not exist.
pub(super) fn missing(request: &RequestContext<'_>, response: &FailedResponse<'_>) -> Failure {
    if request.intent == Intent::Create || response.message().contains("namespaces \"") {
        return FailureCause::NoNamespace.with(Error::Config {
            message: format!(
                "{NO_NAMESPACE} {}: create it, or set SANDBOX_NAMESPACE",
                request.namespace
            ),
        });
    }
    FailureCause::NoObject.with(match request.id {
        Some(id) => Error::NotFound { id: id.clone() },
        None => error(request, CreationReason::Other, describe(response), None),
    })
}

pub(super) fn forbidden(
    request: &RequestContext<'_>,
    response: &FailedResponse<'_>,
    cause: &Cause,
) -> Failure {
    let RequestContext {
        verb,
        resource,
        namespace,
        ..
    } = request;
    let message = response.message();
    let (reason, text) = match cause {
        Cause::Quota => (CreationReason::Quota, with_hint(message)),
        Cause::PodSecurity => (
            CreationReason::Rejected,
            format!(
                "{message} (the namespace requires more than the security profile or the Pod patch provides)"
            ),
        ),
        Cause::NamespaceTerminating => (
            CreationReason::Rejected,
            format!("the namespace {namespace} is being deleted: use another one"),
        ),
        Cause::Policy | Cause::NotYet => (CreationReason::Rejected, with_hint(message)),
        Cause::Rbac => (
            CreationReason::Rejected,
            format!(
                "no permission to {verb} {resource} in the namespace {namespace}: grant it with a Role and a \
                 RoleBinding{}",
                if message.is_empty() {
                    String::new()
                } else {
                    format!(" ({message})")
                }
            ),
        ),
    };
    let failure_cause = match cause {
        Cause::Rbac => FailureCause::NoPermission,
        Cause::Quota
        | Cause::PodSecurity
        | Cause::Policy
        | Cause::NamespaceTerminating
        | Cause::NotYet => FailureCause::Other,
    };
    failure_cause.with(error(request, reason, text, None))
}

fn with_hint(message: &str) -> String {
    hint(message).map_or_else(|| message.to_owned(), |hint| format!("{message} ({hint})"))
}

pub(super) fn unauthenticated(request: &RequestContext<'_>) -> Error {
    let text = "the API server does not accept the credentials: they may have expired; log in again, or check the \
                kubeconfig";
    error(request, CreationReason::Rejected, text.into(), None)
}

/// Any other failure that a retry does not change.
pub(super) fn refused(request: &RequestContext<'_>, response: &FailedResponse<'_>) -> Error {
    // A server that failed may recover later; one that rejects the request will reject it again.
    if response.code.is_some_and(|code| code >= 500) {
        let cause = Box::new(RetryAfter {
            after: Duration::from_secs(1),
            source: None,
        });
        return error(
            request,
            CreationReason::Unavailable,
            describe(response),
            Some(cause),
        );
    }
    error(request, CreationReason::Rejected, describe(response), None)
}

fn describe(response: &FailedResponse<'_>) -> String {
    match (response.message(), response.code) {
        ("", Some(code)) => format!("the API server returned status {code}"),
        ("", None) => "the API server does not respond".into(),
        (message, _) => message.to_owned(),
    }
}

/// The error of the operation. One with a `source` of [`RetryAfter`] is retryable.
fn error(
    request: &RequestContext<'_>,
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
                Intent::Read | Intent::Continue => "read from the API server",
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
