//! The injection of sandbox-sshd into a Pod and the reports of its start, against the testkit's API server.

#![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

mod crowd;
mod install;
mod preflight;
mod start;
mod upload;
mod upload_failures;

use kube::Client;
use sandbox_core::{SandboxId, SandboxSpec};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::KubernetesOptions;
use sandbox_testkit::apiserver::ApiServer;

pub(crate) fn backend(
    server: &ApiServer,
    tune: impl FnOnce(&mut KubernetesOptions),
) -> KubernetesBackend {
    let mut options = KubernetesOptions::default();
    options.server_image = Some("localhost/sandbox-sshd:1".into());
    tune(&mut options);
    KubernetesBackend::new(Client::new(server.clone(), "boxes"), options)
}

pub(crate) fn spec() -> (SandboxId, SandboxSpec) {
    let id = SandboxId::generate().unwrap();
    let mut spec = SandboxSpec::default();
    spec.id = Some(id.clone());
    spec.image = Some("busybox".into());
    (id, spec)
}
