//! The manifest of a sandbox's Pod.
//!
//! A Pod is built as a whole ([`build`]), patched last, and then compared with its state before the
//! patch and with the Pod Security Standard of its profile. A patch that changes fields that the SDK
//! relies on, or loosens the profile, is refused and not partly reverted.

mod container;
mod credentials;
mod inject;
mod key_references;
mod non_empty;
mod patch;
mod pool_key;
mod probes;
mod request;
mod security;
mod server;
mod standard;
mod volumes;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Error, OnExpiry, Result, SandboxSpec};

use crate::manifest::labels;
use crate::manifest::options::{Injection, KubernetesOptions, PodOptions};
use crate::names;
#[cfg(test)]
pub(crate) use container::WAIT_SCRIPT;
pub(crate) use credentials::has_service_account_token;
use non_empty::{non_empty, non_empty_map};
pub use pool_key::pool_key;
pub use request::PodParams;
pub(crate) use server::{OTHER_WAYS, UPLOAD_DIRECTORIES, uploads_server};
use server::{Server, select_server};
pub(crate) use standard::security_level;

/// Returns every image that a Pod pulls.
pub(crate) fn image_references(pod: &Pod) -> Vec<String> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.image.as_ref()?.reference.clone());
    containers
        .filter_map(|container| container.image.clone())
        .chain(volumes)
        .collect()
}

/// Builds the manifest.
///
/// # Errors
///
/// [`Error::Config`] for a missing option, [`Error::Invalid`] for an invalid request or patch, and
/// [`Error::Unsupported`] for a limit that no Pod has.
pub fn build(request: PodParams<'_>) -> Result<Pod> {
    request.spec.validate()?;
    let options = request.options;
    let own = &request.pod.merge_over(options);
    let patches: Vec<_> = [&options.pod.patch, &request.pod.patch]
        .into_iter()
        .flatten()
        .collect();
    let request = PodParams {
        pod: own,
        ..request
    };
    let profile = own.security_profile.clone().unwrap_or_default();
    let restrictions = security::check(&profile, own.run_as_user, &options.injection)?;
    let server = select_server(options)?;
    let mut spec = PodSpec {
        active_deadline_seconds: Some(active_deadline(request.spec, &server)?),
        automount_service_account_token: Some(false),
        containers: vec![container::build(&request, &server)?],
        enable_service_links: Some(false),
        host_aliases: non_empty(own.host_aliases.clone()),
        image_pull_secrets: non_empty(pull_secrets(own)?),
        node_selector: non_empty_map(own.node_selector.clone()),
        priority_class_name: own.priority_class_name.clone(),
        restart_policy: Some("Never".into()),
        runtime_class_name: own.runtime_class_name.clone(),
        security_context: restrictions.pod.clone(),
        service_account_name: own.service_account_name.clone(),
        termination_grace_period_seconds: Some(1),
        tolerations: non_empty(own.tolerations.clone()),
        ..PodSpec::default()
    };
    volumes::add(&mut spec, &own.volumes)?;
    inject::add(&mut spec, &server, &request.secret_ref().name, own);
    security::apply(&mut spec, &restrictions);
    let mut pod = Pod {
        metadata: metadata(&request)?,
        spec: Some(spec),
        status: None,
    };
    if !patches.is_empty() {
        pod = patch::apply(pod, &patches)?;
    }
    if let Some(spec) = &mut pod.spec {
        security::complete(spec, &profile, &restrictions);
        volumes::check(spec, server.path())?;
        inject::remove_unneeded_volume(spec, &server);
    }
    standard::check(&pod, &profile)?;
    credentials::check(&pod, &profile)?;
    Ok(pod)
}

fn pull_secrets(own: &PodOptions) -> Result<Vec<LocalObjectReference>> {
    if let Some(name) = own
        .image_pull_secrets
        .iter()
        .find(|name| labels::is_key_secret_name(name))
    {
        return Err(Error::invalid(
            "pull secret",
            name,
            "it holds the keys of a sandbox, and none of a registry; name a Secret of type \
             kubernetes.io/dockerconfigjson",
        ));
    }
    Ok(own
        .image_pull_secrets
        .iter()
        .map(|name| LocalObjectReference { name: name.clone() })
        .collect())
}

/// Returns the login name of sandboxes with these options. sandbox-sshd accepts any.
pub fn login_user(options: &KubernetesOptions) -> &str {
    match &options.injection {
        Injection::Image(image) => &image.user,
        Injection::Baked { .. } | Injection::Inject(_) => names::CONTAINER,
    }
}

fn metadata(request: &PodParams<'_>) -> Result<ObjectMeta> {
    let own = &request.pod.annotations;
    if let Some(key) = own.keys().find(|key| labels::is_reserved(key)) {
        return Err(Error::invalid(
            "annotation",
            key,
            "this prefix is the SDK's own; choose another",
        ));
    }
    let managed = [
        (names::NONCE, request.nonce.to_owned()),
        (names::OWNER_UID, request.secret.as_str().to_owned()),
        (
            names::ENDS_AFTER,
            labels::ends_after(&request.spec.lifetime),
        ),
        (names::USER, login_user(request.options).to_owned()),
    ];
    let ready_within =
        labels::ready_within(&request.spec.lifetime).map(|seconds| (names::READY_WITHIN, seconds));
    let on_expiry = request.spec.lifetime.on_expiry;
    let on_expiry =
        (on_expiry != OnExpiry::End).then(|| (names::ON_EXPIRY, on_expiry.as_str().to_owned()));
    let managed = managed.into_iter().chain(ready_within).chain(on_expiry);
    let managed = managed.map(|(key, value)| (key.to_owned(), value));
    let mut labels = labels::object_labels(request.id, &request.spec.labels);
    if request.spec.is_offline {
        labels.insert(names::EGRESS.to_owned(), names::EGRESS_NONE.to_owned());
    }
    let mut annotations = BTreeMap::new();
    if let Some(pool) = request.pool {
        labels.extend(pool.labels());
        annotations.insert(names::SAFE_TO_EVICT.to_owned(), "true".to_owned());
    }
    annotations.extend(own.clone());
    annotations.extend(labels::stored_annotations(&request.spec.annotations));
    annotations.extend(managed);
    Ok(ObjectMeta {
        name: Some(request.id.as_str().to_owned()),
        namespace: Some(request.namespace.to_owned()),
        labels: Some(labels),
        annotations: Some(annotations),
        owner_references: Some(vec![labels::owner_reference(&request.secret_ref())]),
        ..ObjectMeta::default()
    })
}

/// Returns the hard end in whole seconds, which Kubernetes stores as an i32. An image sshd does not apply a
/// soft end, so the earlier of both ends is used, and an idle timeout and a pause are refused.
fn active_deadline(spec: &SandboxSpec, server: &Server<'_>) -> Result<i64> {
    let most = match server {
        Server::SandboxSshd { .. } => spec.lifetime.max_lifetime,
        Server::ImageSshd(_) => spec.lifetime.first_end(),
    };
    if let (Server::ImageSshd(_), Some(idle)) = (server, spec.lifetime.idle_timeout) {
        return Err(Error::unsupported_because(
            format!("an idle timeout of {idle:?}"),
            "an image's own SSH server",
            "it does not record when it is idle",
            "set a ttl, or inject sandbox-sshd (SANDBOX_INJECTION)",
        ));
    }
    if let (Server::ImageSshd(_), OnExpiry::Pause) = (server, spec.lifetime.on_expiry) {
        return Err(Error::unsupported_because(
            "a pause at the end of the ttl",
            "an image's own SSH server",
            "it cannot pause the sandbox",
            "let it end then, or inject sandbox-sshd (SANDBOX_INJECTION)",
        ));
    }
    let seconds = i32::try_from(labels::whole_seconds(most));
    seconds.map(i64::from).map_err(|_| {
        Error::invalid(
            "max_lifetime",
            format!("{most:?}"),
            "Kubernetes counts to 2147483647 seconds, 68 years",
        )
    })
}
