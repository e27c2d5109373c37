//! Whether a cluster is fit for sandboxes: asked of it, before one is made.

mod images;
mod request;
mod transport;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use http::Request;
use http::header::CONTENT_TYPE;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use sandbox_core::{Check, Error, Result, SandboxSpec, Verdict};

use super::create::try_out;
use super::shared::Shared;
use crate::api::classify::{NO_NAMESPACE, NO_PERMISSION};
use crate::api::objects::request_error;
use crate::manifest::options::{SecurityProfile, Transport};
use request::{get, send};
/// Questions about rights at once.
const AT_ONCE: usize = 4;
/// How far clocks may be apart: TLS certificates and tokens have a beginning and an end.
const SKEW: Duration = Duration::from_secs(60);
/// What a namespace says about the Pods that it takes.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

/// A right that is used, and what for.
struct Right {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    part: &'static str,
    /// What does not work without it; `None`: nothing does.
    only: Option<&'static str>,
}

pub(super) async fn preflight(shared: &Arc<Shared>, spec: SandboxSpec) -> Vec<Check> {
    let mut checks = vec![version(shared).await];
    if checks[0].verdict == Verdict::Failed {
        checks.push(Check::skipped("the rest", "it is asked of the API server"));
        return checks;
    }
    checks.push(clock(shared));
    checks.push(namespace(shared).await);
    let rights = stream::iter(rights(shared))
        .map(|right| allowed(shared, right))
        .buffered(AT_ONCE);
    let rights = rights.collect::<Vec<_>>().await;
    let transport = transport::transport(shared.options.transport, &rights, &grant(shared));
    checks.extend(rights);
    checks.push(transport);
    let (pod, images) = pod(shared, spec).await;
    checks.push(pod);
    checks.extend(images::images(shared, images).await);
    checks
}

/// Whether it answers, and which version it is.
async fn version(shared: &Shared) -> Check {
    const NAME: &str = "API server";
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git_version: String,
    }
    match get::<Version>(shared, "/version", "version").await {
        Ok(version) => Check::passed(NAME, format!("Kubernetes {}", version.git_version)),
        Err(error) => Check::failed(NAME, told(&error)).with_remedy(
            "kubectl cluster-info has to answer with the same kubeconfig and context; SANDBOX_KUBECONFIG and \
             SANDBOX_KUBE_CONTEXT choose others",
        ),
    }
}

fn clock(shared: &Shared) -> Check {
    const NAME: &str = "clock";
    let Some(theirs) = shared.api().clock.now() else {
        return Check::skipped(NAME, "the API server does not say what time it is");
    };
    let now = SystemTime::now();
    let apart = now
        .duration_since(theirs)
        .unwrap_or_else(|ahead| ahead.duration());
    if apart <= SKEW {
        return Check::passed(NAME, "this machine and the API server agree");
    }
    let message = format!("this machine's clock and the API server's are {apart:?} apart");
    Check::warning(NAME, message)
        .with_remedy("let an NTP client set this machine's clock: timedatectl set-ntp true")
}

async fn namespace(shared: &Shared) -> Check {
    let name = &shared.api().namespace;
    let check = "namespace";
    match get::<Namespace>(shared, &format!("/api/v1/namespaces/{name}"), "namespaces").await {
        Ok(found) => {
            let labels = found.metadata.labels.unwrap_or_default();
            let level = labels.get(ENFORCED).map(String::as_str);
            let ours = match shared.options.security {
                SecurityProfile::Restricted => "restricted",
                SecurityProfile::Baseline => "baseline",
                SecurityProfile::Custom { .. } => "of their own",
            };
            let says = level.map_or_else(
                || "no Pod Security level".to_owned(),
                |level| format!("Pod Security level {level}"),
            );
            let detail = format!("{name}: {says}; sandboxes are {ours}");
            match level {
                Some("restricted") if ours == "baseline" => Check::failed(check, detail)
                    .with_remedy(
                        "set SANDBOX_SECURITY_PROFILE=restricted, or use another namespace",
                    ),
                None => Check::warning(check, detail).with_remedy(format!(
                    "kubectl label namespace {name} {ENFORCED}={}",
                    if ours == "restricted" {
                        ours
                    } else {
                        "baseline"
                    }
                )),
                Some(_) => Check::passed(check, detail),
            }
        }
        Err(Error::Config { message }) if message.starts_with(NO_NAMESPACE) => {
            let near = shared.api().suggest_namespace().await;
            let hint = near
                .map(|near| format!(": did you mean {near}?"))
                .unwrap_or_default();
            Check::failed(check, format!("{NO_NAMESPACE} {name}{hint}")).with_remedy(format!(
                "kubectl create namespace {name}, or set SANDBOX_NAMESPACE"
            ))
        }
        Err(Error::Backend { message, .. }) if message.starts_with(NO_PERMISSION) => {
            Check::skipped(
                check,
                format!(
                    "{name}: its labels cannot be read (get namespaces), which sandboxes do not need"
                ),
            )
        }
        Err(error) => Check::skipped(
            check,
            format!("{name}: its labels cannot be read: {}", told(&error)),
        ),
    }
}

/// What `deploy/rbac.yaml` gives.
fn rights(shared: &Shared) -> Vec<Right> {
    let right = |verb, resource, part, only| Right {
        verb,
        group: "",
        resource,
        part,
        only,
    };
    let mut rights: Vec<Right> = ["create", "get", "list", "watch", "delete"]
        .map(|verb| right(verb, "pods", "", None))
        .into_iter()
        .chain(["create", "get", "delete"].map(|verb| right(verb, "secrets", "", None)))
        .collect();
    rights.push(right("patch", "pods", "", Some("`extend` fails")));
    let forward = match shared.options.transport {
        Transport::Direct => Some("Pods are reached by their address only"),
        Transport::Auto => {
            Some("Pods are reached by their address only, which needs a route to them")
        }
        _ => None,
    };
    rights.extend(["get", "create"].map(|verb| right(verb, "pods", "portforward", forward)));
    rights.push(right(
        "get",
        "pods",
        "log",
        Some("failures are told without the server's last words"),
    ));
    for verb in ["list", "watch"] {
        rights.push(right(
            verb,
            "events",
            "",
            Some("failures are told without the cluster's events"),
        ));
    }
    if shared.lease.is_some() {
        rights.extend(["create", "patch", "list", "delete"].map(|verb| Right {
            group: "coordination.k8s.io",
            ..right(verb, "leases", "", None)
        }));
    }
    rights
}

/// What gives all of them.
fn grant(shared: &Shared) -> String {
    let namespace = &shared.api().namespace;
    format!("kubectl apply -n {namespace} -f deploy/rbac.yaml, and use the account that it makes")
}

/// Asks by a SelfSubjectAccessReview, which everybody may.
async fn allowed(shared: &Shared, right: Right) -> Check {
    let part = if right.part.is_empty() {
        String::new()
    } else {
        format!("/{}", right.part)
    };
    let name = format!("{} {}{part}", right.verb, right.resource);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let attributes = ResourceAttributes {
        namespace: Some(shared.api().namespace.clone()),
        verb: text(right.verb),
        group: text(right.group),
        resource: text(right.resource),
        subresource: text(right.part),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..Default::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer: Result<SelfSubjectAccessReview> = match serde_json::to_vec(&review) {
        Ok(body) => {
            let url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let request = Request::post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body);
            send(shared, request, "create", "selfsubjectaccessreviews").await
        }
        Err(source) => Err(request_error(source)),
    };
    let status = match answer {
        Ok(review) => review.status.unwrap_or_default(),
        Err(error) => return Check::skipped(name, told(&error)),
    };
    if status.allowed {
        return Check::passed(name, "allowed");
    }
    let remedy = grant(shared);
    match right.only {
        None => Check::failed(name, "forbidden").with_remedy(remedy),
        Some(only) => Check::warning(name, format!("forbidden; {only}")).with_remedy(remedy),
    }
}

/// Whether the cluster would take a Pod as ours are: its quota, its policies and its webhooks say so
/// in a dry run. With the images that it is of.
async fn pod(shared: &Arc<Shared>, spec: SandboxSpec) -> (Check, Vec<String>) {
    const NAME: &str = "a Pod, as a dry run";
    let check = match try_out(shared, spec).await {
        Ok(images) => return (Check::passed(NAME, "accepted"), images),
        Err(Error::Invalid { argument, reason, .. }) => Check::failed(NAME, format!("{argument}: {reason}"))
            .with_remedy("correct the setting that it comes from (.env.example has all)"),
        // Some say themselves what to do: no image, no namespace, a profile that needs root.
        Err(error @ Error::Config { .. }) => Check::failed(NAME, told(&error)),
        Err(error) => Check::failed(NAME, told(&error)).with_remedy(format!(
            "kubectl describe namespace,quota,limitrange -n {} shows what Pods have to keep to there",
            shared.api().namespace
        )),
    };
    (check, Vec::new())
}

/// An error with its causes, in one sentence.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        let said = found.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = found.source();
    }
    text
}
