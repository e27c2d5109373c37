//! The processors of a paused sandbox.

use sandbox_core::{Assignment, Result, SandboxBackend, SandboxInfo};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault, PodResize};
use serde_json::{Value, json};

use crate::support::{backend, create_running, pod, server};

const RESIZE: &str = "patch pods/resize";
const PAUSED_CPU: &str = "sandbox.dev/paused-cpu";

/// A cluster that resizes Pods so, with a running sandbox that has reserved two processors.
async fn cluster(handling: PodResize) -> (ApiServer, KubernetesBackend, SandboxInfo) {
    let server = server();
    let info = create_running(&server).await;
    server.set_pod_resize(handling);
    server.update("pods", info.id.as_str(), |pod| {
        pod["spec"]["containers"][0]["resources"] = full();
        pod["status"]["qosClass"] = json!("Guaranteed");
    });
    let backend = backend(&server);
    (server, backend, info)
}

fn full() -> Value {
    let amounts = json!({"cpu": "2", "memory": "1Gi"});
    json!({"requests": amounts, "limits": amounts})
}

fn resources(server: &ApiServer, info: &SandboxInfo) -> Value {
    pod(server, &info.id)["spec"]["containers"][0]["resources"].clone()
}

fn written(server: &ApiServer, info: &SandboxInfo) -> Value {
    pod(server, &info.id)["metadata"]["annotations"][PAUSED_CPU].clone()
}

async fn mark(
    backend: &KubernetesBackend,
    info: &SandboxInfo,
    is_paused: bool,
) -> Result<SandboxInfo> {
    let mut assignment = Assignment::default();
    assignment.is_paused = Some(is_paused);
    backend.assign(&info.id, &info.uid, assignment).await
}

#[tokio::test(start_paused = true)]
async fn they_are_given_back_and_taken_again_by_any_client() {
    let (server, backend, info) = cluster(PodResize::Applied).await;
    // A second pause does not take what is left for what it had.
    for _ in 0..2 {
        assert!(mark(&backend, &info, true).await.unwrap().is_marked_paused);
        let amounts = json!({"cpu": "100m", "memory": "1Gi"});
        let reduced = json!({"requests": amounts, "limits": amounts});
        assert_eq!(resources(&server, &info), reduced);
    }
    assert_eq!(server.count_requests(RESIZE), 1);
    let other = crate::support::backend(&server);
    assert!(!mark(&other, &info, false).await.unwrap().is_marked_paused);
    assert_eq!(resources(&server, &info), full());
    assert_eq!(written(&server, &info), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_pause_needs_neither_the_subresource_nor_the_permission() {
    for (handling, requests) in [(PodResize::Unknown, 0), (PodResize::Applied, 1)] {
        let (server, backend, info) = cluster(handling).await;
        server.inject_always(RESIZE, Fault::Forbidden);
        assert!(mark(&backend, &info, true).await.unwrap().is_marked_paused);
        assert!(!mark(&backend, &info, false).await.unwrap().is_marked_paused);
        assert_eq!(server.count_requests(RESIZE), requests, "{handling:?}");
        assert_eq!(resources(&server, &info), full());
        assert_eq!(written(&server, &info), Value::Null);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_without_room_does_not_hold_a_resume_up() {
    for handling in [
        PodResize::Deferred,
        PodResize::Infeasible,
        PodResize::Ignored,
    ] {
        let (server, backend, info) = cluster(PodResize::Applied).await;
        mark(&backend, &info, true).await.unwrap();
        server.set_pod_resize(handling);
        let begun = tokio::time::Instant::now();
        assert!(!mark(&backend, &info, false).await.unwrap().is_marked_paused);
        assert!(begun.elapsed().as_millis() < 100, "{:?}", begun.elapsed());
        // The kubelet applies it once it can.
        assert_eq!(resources(&server, &info), full());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_and_the_next_resume_tries_again() {
    let (server, backend, info) = cluster(PodResize::Applied).await;
    mark(&backend, &info, true).await.unwrap();
    let message = "pods is forbidden: exceeded quota: all, requested: cpu=1900m";
    server.inject(RESIZE, Fault::refuse(403, "Forbidden", message));
    let error = mark(&backend, &info, false).await.unwrap_err().to_string();
    assert!(
        error.contains("quota") && error.contains("resume it again"),
        "{error}"
    );
    // It runs.
    let annotations = pod(&server, &info.id)["metadata"]["annotations"].clone();
    assert_eq!(annotations["sandbox.dev/paused"], Value::Null);
    assert!(annotations[PAUSED_CPU].is_string());
    mark(&backend, &info, false).await.unwrap();
    assert_eq!(resources(&server, &info), full());
    assert_eq!(written(&server, &info), Value::Null);
}
