//! The log of a sandbox, also of one whose kubelet is behind.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{LogOptions, Result, SandboxBackend, SandboxId};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::Fault;
use tokio::time::Instant;

use crate::support::{backend, running, server};

fn waiting(why: &str) -> Fault {
    let message = format!("container \"sandbox\" in pod \"sbx-a\" is waiting to start: {why}");
    Fault::refuse(400, "BadRequest", message)
}

async fn log(backend: &KubernetesBackend, id: &SandboxId) -> Result<String> {
    let mut pieces = backend.logs(id, LogOptions::default()).await?;
    let mut text = String::new();
    while let Some(piece) = pieces.next().await {
        text.push_str(&String::from_utf8_lossy(&piece?));
    }
    Ok(text)
}

#[tokio::test(start_paused = true)]
async fn a_container_that_is_about_to_run_has_a_log_soon() {
    for fault in [waiting("ContainerCreating"), waiting("PodInitializing")] {
        let server = server();
        let id = running(&server).await.id;
        server.inject_times("get pods/log", 20, fault);
        assert!(
            log(&backend(&server), &id)
                .await
                .unwrap()
                .contains("the log")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_does_not_run_has_none_and_it_is_said_why() {
    for (why, patience) in [
        ("ContainerCreating", 20),
        ("trying and failing to pull image", 1),
    ] {
        let server = server();
        let id = running(&server).await.id;
        server.inject_always("get pods/log", waiting(why));
        let begun = Instant::now();
        let error = log(&backend(&server), &id).await.unwrap_err();
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

#[tokio::test(start_paused = true)]
async fn who_may_not_read_it_is_told_which_right_is_missing() {
    let server = server();
    let id = running(&server).await.id;
    let backend = backend(&server);
    server.inject_always("get pods/log", Fault::Forbidden);
    let error = log(&backend, &id).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no permission to get pods/log in the namespace boxes"),
        "{error}"
    );
    assert!(!error.is_retryable());
    server.clear_faults();
    // Unless the API server was away just now.
    server.inject("get pods", Fault::CutBefore);
    backend
        .get(&id, sandbox_core::Freshness::Latest)
        .await
        .unwrap();
    server.inject_times("get pods/log", 5, Fault::Forbidden);
    assert!(log(&backend, &id).await.unwrap().contains("the log"));
}
