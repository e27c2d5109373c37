//! How a sandbox has ended, from its status and from the cluster's events.

use std::time::Duration;

use sandbox_core::{
    CreationReason, DeleteOptions, EndCause, Error, Freshness, SandboxBackend, SandboxInfo,
};
use sandbox_testkit::apiserver::ApiServer;
use serde_json::json;

use crate::support::{backend, create_running, create_sandbox, server, without_waiting};

/// Reports an event of a sandbox's Pod.
fn report_event(server: &ApiServer, info: &SandboxInfo, reason: &str, message: &str) {
    server.insert(
        "events",
        json!({
            "metadata": {"name": format!("{}.{reason}", info.id)},
            "involvedObject": {"kind": "Pod", "name": info.id.as_str(), "uid": info.uid.as_str()},
            "reason": reason, "type": "Warning", "message": message,
            "lastTimestamp": "2026-01-01T00:00:01Z",
        }),
    );
}

const DISK: &str = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi. ";

/// The kubelet dropped the reason, because the server of a former version ended with 0. With 143 it
/// would keep it, but reports the end of the container first.
#[tokio::test]
async fn an_eviction_is_named_by_its_event() {
    for (code, reason) in [(0, "Completed"), (143, "Error"), (137, "Error")] {
        let server = server();
        let info = create_running(&server).await;
        report_event(&server, &info, "Evicted", DISK);
        server.end_pod(info.id.as_str(), code, reason);
        let diagnosis = backend(&server).diagnose(&info.id).await.unwrap();
        assert_eq!(
            diagnosis.summary,
            format!("the Pod was evicted: {}", DISK.trim()),
            "exit code {code}"
        );
        assert_eq!(
            (diagnosis.end, diagnosis.reason),
            (Some(EndCause::Evicted), Some(CreationReason::Evicted))
        );
    }
}

#[tokio::test]
async fn the_server_knows_better_than_an_event_why_it_ended() {
    let server = server();
    let info = create_running(&server).await;
    report_event(&server, &info, "Evicted", DISK);
    server.end_pod(info.id.as_str(), 80, "Error");
    let backend = backend(&server);
    let diagnosis = backend.diagnose(&info.id).await.unwrap();
    assert_eq!(diagnosis.end, Some(EndCause::Idle), "{diagnosis:?}");
    let info = backend.get(&info.id, Freshness::Latest).await.unwrap();
    assert_eq!(info.end.unwrap().cause, EndCause::Idle);
}

#[tokio::test]
async fn a_pod_that_was_evicted_and_deleted_is_explained() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    server.run_pod(info.id.as_str());
    let taint = format!("Marking for deletion Pod boxes/{}", info.id);
    report_event(&server, &info, "TaintManagerEviction", &taint);
    server.remove("pods", info.id.as_str());
    tokio::time::timeout(Duration::from_secs(20), async {
        while backend.get(&info.id, Freshness::Latest).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let diagnosis = backend.diagnose(&info.id).await.unwrap();
    assert!(
        diagnosis.summary.contains("no longer exists") && diagnosis.summary.contains("tainted"),
        "{diagnosis:?}"
    );
    assert_eq!(diagnosis.end, Some(EndCause::Evicted));
}

#[tokio::test(start_paused = true)]
async fn a_deletion_names_the_finalizer_that_keeps_the_pod() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    server.run_pod(info.id.as_str());
    server.set_pod_deletion_delay(Duration::from_secs(600));
    server.update("pods", info.id.as_str(), |pod| {
        pod["metadata"]["finalizers"] = json!(["example.com/audit"]);
    });
    server.end_pod(info.id.as_str(), 143, "Error");
    let started = tokio::time::Instant::now();
    let error = backend.delete(&info.id, DeleteOptions::default()).await;
    let Err(Error::Deletion { message, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(
        message.contains("the finalizer example.com/audit"),
        "{message}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_a_finalizer_keeps_is_not_connected_to_but_explained() {
    let server = server();
    let info = create_running(&server).await;
    server.set_pod_deletion_delay(Duration::from_secs(600));
    server.update("pods", info.id.as_str(), |pod| {
        pod["metadata"]["finalizers"] = json!(["example.com/audit"]);
    });
    backend(&server)
        .delete(&info.id, without_waiting())
        .await
        .unwrap();
    // Until its processes have ended, it is an ordinary deletion.
    let error = backend(&server).access(&info.id).await.err().unwrap();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    server.end_pod(info.id.as_str(), 143, "Error");
    let error = backend(&server).access(&info.id).await.err().unwrap();
    assert!(
        matches!(error, Error::Connection(_))
            && error.to_string().contains("has ended")
            && error
                .to_string()
                .contains("the finalizer example.com/audit keeps it"),
        "{error}"
    );
}
