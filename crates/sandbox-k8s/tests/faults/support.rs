//! A backend on the fake API server, and helpers to create and observe its sandboxes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use kube::Client;
use sandbox_core::{
    DeleteOptions, EventStream, Lifetime, SandboxBackend, SandboxEventKind, SandboxId, SandboxInfo,
    SandboxSpec,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions};
use sandbox_testkit::apiserver::ApiServer;
use serde_json::Value;

pub(crate) fn server() -> ApiServer {
    ApiServer::new("boxes")
}

pub(crate) fn options() -> KubernetesOptions {
    let mut options = KubernetesOptions::default();
    options.injection = Injection::baked();
    options
}

/// A separate client, with its own watch and cache.
pub(crate) fn backend(server: &ApiServer) -> KubernetesBackend {
    backend_with(server, options())
}

pub(crate) fn backend_with(server: &ApiServer, options: KubernetesOptions) -> KubernetesBackend {
    KubernetesBackend::new(Client::new(server.clone(), "boxes"), options)
}

/// An attached sandbox that lives for ten minutes, at most for an hour.
pub(crate) fn spec() -> (SandboxId, SandboxSpec) {
    let id = SandboxId::generate().unwrap();
    let mut spec = SandboxSpec::default();
    spec.id = Some(id.clone());
    spec.image = Some("busybox".into());
    spec.lifetime.ttl = Some(Duration::from_secs(600));
    spec.lifetime.max_lifetime = Duration::from_secs(3600);
    (id, spec)
}

pub(crate) fn spec_with(change: impl FnOnce(&mut Lifetime)) -> (SandboxId, SandboxSpec) {
    let (id, mut spec) = spec();
    change(&mut spec.lifetime);
    (id, spec)
}

pub(crate) async fn create_sandbox(backend: &KubernetesBackend) -> SandboxInfo {
    backend.create(spec().1).await.unwrap()
}

/// Creates a running sandbox with a client that is dropped afterwards.
pub(crate) async fn create_running(server: &ApiServer) -> SandboxInfo {
    let info = create_sandbox(&backend(server)).await;
    server.run_pod(info.id.as_str());
    info
}

pub(crate) fn without_waiting() -> DeleteOptions {
    let mut options = DeleteOptions::default();
    options.wait = false;
    options
}

/// The names of the two objects of a sandbox.
pub(crate) fn object_names_of(server: &ApiServer, id: &SandboxId) -> [String; 2] {
    [
        format!("pods/{id}"),
        format!("secrets/{}", secret_name(server, id)),
    ]
}

/// The name of the only Secret of this id.
pub(crate) fn secret_name(server: &ApiServer, id: &SandboxId) -> String {
    let names = server.object_names();
    let mut names = names.iter().filter_map(|name| {
        let name = name.strip_prefix("secrets/")?;
        name.starts_with(&format!("{id}-keys-")).then_some(name)
    });
    let name = names.next().unwrap().to_owned();
    assert_eq!(names.next(), None);
    name
}

/// A specification with an id that a person chose.
pub(crate) fn named_spec(id: &str) -> (SandboxId, SandboxSpec) {
    let (_, mut spec) = spec();
    let id: SandboxId = id.parse().unwrap();
    spec.id = Some(id.clone());
    (id, spec)
}

pub(crate) fn pod(server: &ApiServer, id: &SandboxId) -> Value {
    server.object("pods", id.as_str()).unwrap()
}

/// Collects the steps of a sandbox up to `last`.
pub(crate) async fn observe_steps_until(
    backend: &KubernetesBackend,
    id: &SandboxId,
    last: SandboxEventKind,
) -> Vec<SandboxEventKind> {
    collect_steps_until(backend.events(id).await.unwrap(), last).await
}

/// Collects the steps of a stream of events up to `last`.
pub(crate) async fn collect_steps_until(
    mut events: EventStream,
    last: SandboxEventKind,
) -> Vec<SandboxEventKind> {
    let mut steps = Vec::new();
    let wait = async {
        while let Some(event) = events.next().await {
            steps.push(event.unwrap().kind);
            if steps.last() == Some(&last) {
                return true;
            }
        }
        false
    };
    let came = tokio::time::timeout(Duration::from_secs(3600), wait).await;
    assert_eq!(came, Ok(true), "{last} did not come: {steps:?}");
    steps
}

/// Waits until the watch of the backend has started.
pub(crate) async fn start_watch(server: &ApiServer, backend: &KubernetesBackend) {
    let before = server.count_requests("watch pods");
    backend
        .list(sandbox_core::ListFilter::default())
        .await
        .unwrap();
    if before == 0 {
        server.wait_for_requests("watch pods", 1).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Counts the warnings that this thread logs.
#[derive(Clone, Default)]
pub(crate) struct Warnings(Arc<AtomicUsize>);

impl Warnings {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
