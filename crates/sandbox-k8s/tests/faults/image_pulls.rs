//! Why an image cannot be pulled is in the error, whatever a busy kubelet reports later or not at all.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{CreationReason, SandboxBackend, SandboxEventKind, SandboxInfo};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;
use tokio::time::Instant;

use crate::support::{backend, server, spec};

const REFUSED: &str =
    "failed to pull and unpack image \"r.example/x:1\": dial tcp 10.0.0.1:443: connection refused";
const WAITS: &str = "Back-off pulling image \"r.example/x:1\"";

/// Reports that the container of a Pod with a node waits for this reason.
fn report(server: &ApiServer, info: &SandboxInfo, reason: &str, message: &str) {
    server.update("pods", info.id.as_str(), |pod| {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "restartCount": 0, "ready": false,
                                   "state": {"waiting": {"reason": reason, "message": message}}}],
        });
    });
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_the_status_has_named_once_is_in_the_diagnosis() {
    // Without a watch of the Pods, each look is a request.
    for watch in [true, false] {
        let server = server();
        if !watch {
            server.inject_always("watch pods", Fault::Forbidden);
            server.inject_always("list pods", Fault::Forbidden);
        }
        let backend = backend(&server);
        let info = backend.create(spec().1).await.unwrap();
        let mut events = backend.events(&info.id).await.unwrap();
        report(&server, &info, "ErrImagePull", REFUSED);
        let mut event = async || events.next().await.unwrap().unwrap();
        let warning = loop {
            let event = event().await;
            if event.kind == SandboxEventKind::Warning {
                break event;
            }
        };
        assert!(warning.message.starts_with(REFUSED), "{warning:?}");
        report(&server, &info, "ImagePullBackOff", WAITS);
        let failed = event().await;
        assert_eq!(
            (failed.kind, &failed.message),
            (SandboxEventKind::Failed, &warning.message)
        );
        let begun = Instant::now();
        let diagnosis = backend.diagnose(&info.id).await.unwrap();
        assert_eq!(
            (diagnosis.reason, &diagnosis.summary),
            (Some(CreationReason::ImagePull), &warning.message)
        );
        assert!(begun.elapsed() < Duration::from_millis(500), "at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cause_that_only_an_event_names_is_waited_for() {
    let server = server();
    let info = backend(&server).create(spec().1).await.unwrap();
    report(&server, &info, "ImagePullBackOff", WAITS);
    let late = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.insert(
            "events",
            json!({
                "metadata": {"name": "late"},
                "involvedObject": {"kind": "Pod", "uid": info.uid.as_str()},
                "reason": "Failed", "type": "Warning", "message": REFUSED,
                "lastTimestamp": "2026-01-01T00:00:01Z",
            }),
        );
    };
    let other = backend(&server);
    let (diagnosis, ()) = tokio::join!(other.diagnose(&info.id), late);
    let diagnosis = diagnosis.unwrap();
    assert_eq!(diagnosis.reason, Some(CreationReason::ImagePull));
    assert!(diagnosis.summary.starts_with(REFUSED), "{diagnosis:?}");
}

#[tokio::test(start_paused = true)]
async fn events_that_may_not_be_read_are_not_waited_for() {
    let server = server();
    server.inject_always("list events", Fault::Forbidden);
    let info = backend(&server).create(spec().1).await.unwrap();
    report(&server, &info, "ImagePullBackOff", WAITS);
    let begun = Instant::now();
    let diagnosis = backend(&server).diagnose(&info.id).await.unwrap();
    assert_eq!(
        (diagnosis.reason, diagnosis.summary.as_str()),
        (Some(CreationReason::ImagePull), WAITS)
    );
    assert!(begun.elapsed() < Duration::from_millis(500), "at once");
}
