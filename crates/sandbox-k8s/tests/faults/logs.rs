//! The log of a sandbox, also if its kubelet lags behind.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{LogOptions, Result, SandboxBackend, SandboxId};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::Fault;
use serde_json::json;
use tokio::time::Instant;

use crate::support::{backend, create_running, create_sandbox, server};

fn waiting_to_start(why: &str) -> Fault {
    let message = format!("container \"sandbox\" in pod \"sbx-a\" is waiting to start: {why}");
    Fault::refuse(400, "BadRequest", message)
}

async fn read_log(backend: &KubernetesBackend, id: &SandboxId) -> Result<String> {
    let mut pieces = backend.logs(id, LogOptions::default()).await?;
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        text.push_str(&String::from_utf8_lossy(&piece?));
    }
    Ok(text)
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_starting_container_is_retried() {
    for fault in [
        waiting_to_start("ContainerCreating"),
        waiting_to_start("PodInitializing"),
    ] {
        let server = server();
        let id = create_running(&server).await.id;
        server.inject_times("get pods/log", 20, fault);
        assert!(
            read_log(&backend(&server), &id)
                .await
                .unwrap()
                .contains("the log")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_of_a_container_that_never_starts_fails_with_the_reason() {
    for (why, patience) in [
        ("ContainerCreating", 20),
        ("trying and failing to pull image", 1),
    ] {
        let server = server();
        let id = create_running(&server).await.id;
        server.inject_always("get pods/log", waiting_to_start(why));
        let begun = Instant::now();
        let error = read_log(&backend(&server), &id).await.unwrap_err();
        assert!(
            error.to_string().contains(why) && error.is_retryable(),
            "{error}"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(patience),
            "{why}: {:?}",
            begun.elapsed()
        );
    }
}

/// A kubelet reports a start up to ten seconds late. By then the server may have refused a login.
#[tokio::test(start_paused = true)]
async fn a_diagnosis_has_the_log_before_the_start_is_reported() {
    let server = server();
    server.set_pods_start(false);
    let id = create_sandbox(&backend(&server)).await.id;
    // Each one sees the cluster anew.
    let diagnose = async || backend(&server).diagnose(&id).await.unwrap();
    // A Pod without a node has no log.
    assert_eq!(diagnose().await.log_tail, "");
    server.update("pods", id.as_str(), |pod| {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"] = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    });
    let diagnosis = diagnose().await;
    assert!(diagnosis.log_tail.contains("the log"), "{diagnosis:?}");
    // The kubelet has not started it yet.
    server.inject_always("get pods/log", waiting_to_start("ContainerCreating"));
    let begun = Instant::now();
    assert_eq!(diagnose().await.log_tail, "");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_log_names_the_missing_permission() {
    let server = server();
    let id = create_running(&server).await.id;
    let backend = backend(&server);
    server.inject_always("get pods/log", Fault::Forbidden);
    let error = read_log(&backend, &id).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no permission to get pods/log in the namespace boxes"),
        "{error}"
    );
    assert!(!error.is_retryable());
    server.clear_faults();
    // After an outage of the API server, the same denial is retried.
    server.inject("get pods", Fault::CutBefore);
    backend
        .get(&id, sandbox_core::Freshness::Latest)
        .await
        .unwrap();
    server.inject_times("get pods/log", 5, Fault::Forbidden);
    assert!(read_log(&backend, &id).await.unwrap().contains("the log"));
}
