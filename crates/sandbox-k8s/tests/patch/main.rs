//! The limits of a raw Pod patch and of the Pod options, checked on whole Pods.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

mod invariants;
mod merge;
mod options;
mod security;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Result, SandboxId, SandboxSpec, Uid};
use sandbox_k8s::internals::pod::{self, PodParams};
use sandbox_k8s::options::{InjectVia, Injection, KubernetesOptions, PodOptions};
use serde_json::{Value, json};

fn options() -> KubernetesOptions {
    let mut options = KubernetesOptions::default();
    options.server_image = Some("server:1".into());
    options.injection = Injection::Inject(InjectVia::InitContainer);
    options
}

fn build(own: &PodOptions, options: &KubernetesOptions) -> Result<Pod> {
    let id: SandboxId = "sbx-a".parse().unwrap();
    let mut spec = SandboxSpec::default();
    spec.image = Some("python:3.12-slim".into());
    pod::build(PodParams {
        id: &id,
        namespace: "ns",
        nonce: "k3v9q2xw7dk3v9q2xw7d",
        secret: &Uid::new("s1"),
        spec: &spec,
        options,
        pod: own,
        pool: None,
    })
}

fn build_patched(patch: Value) -> Result<Pod> {
    build(&PodOptions::new().patch(patch), &options())
}

/// A patch of the container `sandbox`.
fn patch_main(change: Value) -> Value {
    let mut container = json!({"name": "sandbox"});
    container
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    json!({"spec": {"containers": [container]}})
}

/// A patch that adds a container to `containers` or `initContainers`.
fn patch_beside(list: &str, change: Value) -> Value {
    let mut container = json!({"name": "beside", "image": "i"});
    container
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    json!({"spec": {list: [container]}})
}
