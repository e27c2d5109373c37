//! Checks whether a cluster can run sandboxes, before one is created.

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

use super::create::dry_run;
use super::shared::Shared;
use crate::api::classify::NO_NAMESPACE;
use crate::api::failure::{Failure, FailureCause};
use crate::api::objects::request_error;
use crate::manifest::options::{SecurityProfile, Transport};
use crate::manifest::pod::{self, OTHER_WAYS};
use request::{get, send};
/// The number of permission checks that run at the same time.
const CONCURRENT_CHECKS: usize = 4;
/// How far clocks may differ. TLS certificates and tokens are valid only for a time.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(60);
/// The label with the Pod Security level that a namespace enforces.
const ENFORCE_LABEL: &str = "pod-security.kubernetes.io/enforce";

/// A permission that the SDK uses.
struct Permission {
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    subresource: &'static str,
    /// What does not work without the permission; `None` if nothing works.
    consequence: Option<&'static str>,
}

/// Runs all checks.
pub(super) async fn preflight(shared: &Arc<Shared>, spec: SandboxSpec) -> Vec<Check> {
    let mut checks = vec![check_version(shared).await];
    if checks[0].verdict == Verdict::Failed {
        checks.push(Check::skipped("other checks", "they need the API server"));
        return checks;
    }
    checks.push(check_clock(shared));
    checks.push(check_namespace(shared).await);
    let permissions = stream::iter(required_permissions(shared))
        .map(|permission| check_permission(shared, permission))
        .buffered(CONCURRENT_CHECKS);
    let permissions = permissions.collect::<Vec<_>>().await;
    let transport = transport::check_transport(
        shared.options.transport,
        &permissions,
        &grant_remedy(shared),
    );
    checks.extend(permissions);
    checks.push(transport);
    checks.extend(check_upload(shared));
    let (pod, images) = check_pod(shared, spec).await;
    checks.push(pod);
    checks.extend(images::check_images(shared, images).await);
    checks
}

/// Checks whether the API server responds, and reports its version.
async fn check_version(shared: &Shared) -> Check {
    const NAME: &str = "API server";
    #[derive(serde::Deserialize)]
    struct Version {
        #[serde(rename = "gitVersion")]
        git_version: String,
    }
    match get::<Version>(shared, "/version", "version").await {
        Ok(version) => Check::passed(NAME, format!("Kubernetes {}", version.git_version)),
        Err(failure) => Check::failed(NAME, describe(&failure.error)).with_remedy(
            "check that kubectl cluster-info works with the same kubeconfig and context; select others with \
             SANDBOX_KUBECONFIG and SANDBOX_KUBE_CONTEXT",
        ),
    }
}

fn check_clock(shared: &Shared) -> Check {
    const NAME: &str = "clock";
    let Some(server_time) = shared.api().clock.now() else {
        return Check::skipped(NAME, "the API server does not send its time");
    };
    let now = SystemTime::now();
    let difference = now
        .duration_since(server_time)
        .unwrap_or_else(|error| error.duration());
    if difference <= MAX_CLOCK_SKEW {
        return Check::passed(NAME, "the local clock and the API server's agree");
    }
    let message = format!("the local clock and the API server's differ by {difference:?}");
    Check::warning(NAME, message)
        .with_remedy("synchronise the local clock by NTP: timedatectl set-ntp true")
}

async fn check_namespace(shared: &Shared) -> Check {
    let name = &shared.api().namespace;
    let check = "namespace";
    match get::<Namespace>(shared, &format!("/api/v1/namespaces/{name}"), "namespaces").await {
        Ok(found) => {
            let labels = found.metadata.labels.unwrap_or_default();
            let level = labels.get(ENFORCE_LABEL).map(String::as_str);
            let profile = match shared.options.security {
                SecurityProfile::Restricted => "restricted",
                SecurityProfile::Baseline => "baseline",
                SecurityProfile::Custom { .. } => "custom",
            };
            let enforced = level.map_or_else(
                || "no Pod Security level".to_owned(),
                |level| format!("Pod Security level {level}"),
            );
            let detail = format!("{name}: {enforced}; the security profile is {profile}");
            match level {
                Some("restricted") if profile == "baseline" => Check::failed(check, detail)
                    .with_remedy(
                        "set SANDBOX_SECURITY_PROFILE=restricted, or use another namespace",
                    ),
                None => Check::warning(check, detail).with_remedy(format!(
                    "kubectl label namespace {name} {ENFORCE_LABEL}={}",
                    if profile == "restricted" {
                        profile
                    } else {
                        "baseline"
                    }
                )),
                Some(_) => Check::passed(check, detail),
            }
        }
        Err(Failure {
            cause: FailureCause::NoNamespace,
            ..
        }) => {
            let similar = shared.api().suggest_namespace().await;
            let hint = similar
                .map(|name| format!(": did you mean {name}?"))
                .unwrap_or_default();
            Check::failed(check, format!("{NO_NAMESPACE} {name}{hint}")).with_remedy(format!(
                "kubectl create namespace {name}, or set SANDBOX_NAMESPACE"
            ))
        }
        Err(Failure {
            cause: FailureCause::NoPermission,
            ..
        }) => Check::skipped(
            check,
            format!(
                "{name}: its labels cannot be read (get namespaces), which sandboxes do not need"
            ),
        ),
        Err(failure) => Check::skipped(
            check,
            format!(
                "{name}: its labels cannot be read: {}",
                describe(&failure.error)
            ),
        ),
    }
}

/// Returns the permissions that `deploy/rbac.yaml` and `deploy/egress.yaml` grant, and `deploy/upload.yaml` for uploads.
fn required_permissions(shared: &Shared) -> Vec<Permission> {
    let permission = |verb, resource, subresource, consequence| Permission {
        verb,
        group: "",
        resource,
        subresource,
        consequence,
    };
    let mut permissions: Vec<Permission> = ["create", "get", "list", "watch", "delete"]
        .map(|verb| permission(verb, "pods", "", None))
        .into_iter()
        .chain(["create", "get", "delete"].map(|verb| permission(verb, "secrets", "", None)))
        .collect();
    permissions.push(permission("patch", "pods", "", Some("`extend` fails")));
    let forward = match shared.options.transport {
        Transport::Direct => Some("Pods can only be reached by their address"),
        Transport::Auto => {
            Some("Pods can only be reached by their address, which needs a route to them")
        }
        Transport::PortForward => None,
    };
    permissions
        .extend(["get", "create"].map(|verb| permission(verb, "pods", "portforward", forward)));
    if pod::uploads_server(&shared.options) {
        permissions.extend(["get", "create"].map(|verb| permission(verb, "pods", "exec", None)));
    }
    permissions.push(permission(
        "get",
        "pods",
        "log",
        Some("errors do not contain the end of the server's log"),
    ));
    for verb in ["list", "watch"] {
        permissions.push(permission(
            verb,
            "events",
            "",
            Some("errors do not contain the cluster's events"),
        ));
    }
    for resource in ["configmaps", "persistentvolumeclaims"] {
        let consequence = "a volume's missing source is named only if the cluster's events name it";
        permissions.push(permission("get", resource, "", Some(consequence)));
    }
    permissions.push(Permission {
        group: "networking.k8s.io",
        ..permission(
            "list",
            "networkpolicies",
            "",
            Some("sandboxes with egress rules are refused"),
        )
    });
    if shared.lease_keeper.is_some() {
        permissions.extend(
            ["create", "patch", "list", "delete"].map(|verb| Permission {
                group: "coordination.k8s.io",
                ..permission(verb, "leases", "", None)
            }),
        );
    }
    permissions
}

/// Returns the remedy for a missing permission to upload the server.
fn grant_upload_remedy(shared: &Shared) -> String {
    let namespace = &shared.api().namespace;
    format!("kubectl apply -n {namespace} -f deploy/upload.yaml; or {OTHER_WAYS}")
}

/// Returns the remedy for a missing permission to see what lets sandboxes out.
fn grant_egress_remedy(shared: &Shared) -> String {
    let namespace = &shared.api().namespace;
    format!("kubectl apply -n {namespace} -f deploy/egress.yaml")
}

/// Returns the remedy for a missing permission.
fn grant_remedy(shared: &Shared) -> String {
    let namespace = &shared.api().namespace;
    format!("kubectl apply -n {namespace} -f deploy/rbac.yaml, and use the account that it creates")
}

/// Checks a permission by a SelfSubjectAccessReview, which every account may create.
async fn check_permission(shared: &Shared, permission: Permission) -> Check {
    let subresource = if permission.subresource.is_empty() {
        String::new()
    } else {
        format!("/{}", permission.subresource)
    };
    let name = format!("{} {}{subresource}", permission.verb, permission.resource);
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let attributes = ResourceAttributes {
        namespace: Some(shared.api().namespace.clone()),
        verb: text(permission.verb),
        group: text(permission.group),
        resource: text(permission.resource),
        subresource: text(permission.subresource),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..Default::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let result: Result<SelfSubjectAccessReview, Failure> = match serde_json::to_vec(&review) {
        Ok(body) => {
            let url = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
            let request = Request::post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body);
            send(shared, request, "create", "selfsubjectaccessreviews").await
        }
        Err(source) => Err(request_error(source).into()),
    };
    let status = match result {
        Ok(review) => review.status.unwrap_or_default(),
        Err(failure) => return Check::skipped(name, describe(&failure.error)),
    };
    if status.allowed {
        return Check::passed(name, "allowed");
    }
    let remedy = match permission.subresource {
        "exec" => grant_upload_remedy(shared),
        _ if permission.resource == "networkpolicies" => grant_egress_remedy(shared),
        _ => grant_remedy(shared),
    };
    match permission.consequence {
        None => Check::failed(name, "forbidden").with_remedy(remedy),
        Some(consequence) => {
            Check::warning(name, format!("forbidden; {consequence}")).with_remedy(remedy)
        }
    }
}

/// Reports for which processors there is a server to upload, if one is uploaded.
fn check_upload(shared: &Shared) -> Option<Check> {
    let programs = shared.options.server_programs.architectures();
    let programs: Vec<_> = programs.map(|one| one.to_string()).collect();
    pod::uploads_server(&shared.options)
        .then(|| Check::passed("server to upload", programs.join(", ")))
}

/// Checks in a dry run whether the cluster accepts a Pod, with its quota, policies and webhooks. Returns the images
/// of the Pod as well.
async fn check_pod(shared: &Arc<Shared>, spec: SandboxSpec) -> (Check, Vec<String>) {
    const NAME: &str = "a Pod, as a dry run";
    let check = match dry_run(shared, spec).await {
        Ok(images) => return (Check::passed(NAME, "accepted"), images),
        Err(Error::Invalid {
            argument, reason, ..
        }) => Check::failed(NAME, format!("{argument}: {reason}"))
            .with_remedy("correct the setting (.env.example lists all of them)"),
        // These errors contain their remedy: no image, no namespace, a profile that needs root.
        Err(error @ Error::Config { .. }) => Check::failed(NAME, describe(&error)),
        Err(error) => Check::failed(NAME, describe(&error)).with_remedy(format!(
            "kubectl describe namespace,quota,limitrange -n {} shows the constraints on Pods",
            shared.api().namespace
        )),
    };
    (check, Vec::new())
}

/// Returns an error and its causes in one line.
fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(found) = cause {
        let message = found.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = found.source();
    }
    text
}
