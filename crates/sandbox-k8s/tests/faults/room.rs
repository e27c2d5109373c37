//! A Pod that no node has room for, or that a controller holds back.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{SandboxBackend, SandboxEventKind};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{backend, server, spec_with};

const HOUR: Duration = Duration::from_secs(3600);

fn unscheduled(reason: &str) -> Value {
    json!({"phase": "Pending", "conditions": [
        {"type": "PodScheduled", "status": "False", "reason": reason, "message": "0/3 nodes are available"},
    ]})
}

fn without_image() -> Value {
    json!({
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "True",
                        "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "", "restartCount": 0, "ready": false,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}}],
    })
}

/// <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-scheduling-readiness/>
#[tokio::test(start_paused = true)]
async fn it_is_held_only_if_its_creator_waits_for_room() {
    for reason in ["Unschedulable", "SchedulingGated"] {
        for waits in [false, true] {
            let server = server();
            let backend = backend(&server);
            let (id, mut spec) = spec_with(|lifetime| {
                lifetime.ttl = None;
                lifetime.max_lifetime = 24 * HOUR;
            });
            spec.waits_for_room = waits;
            backend.create(spec).await.unwrap();
            server.update("pods", id.as_str(), |pod| {
                pod["status"] = unscheduled(reason);
            });
            let begun = Instant::now();
            let mut events = backend.events(&id).await.unwrap();
            let mut final_event = async || {
                while let Some(event) = events.next().await {
                    let event = event.unwrap();
                    if event.kind.is_final() {
                        return event;
                    }
                }
                panic!("the events ended")
            };
            if waits {
                timeout(HOUR, final_event()).await.unwrap_err();
                // A problem that follows has a grace of its own.
                server.update("pods", id.as_str(), |pod| {
                    pod["spec"]["nodeName"] = json!("node-1");
                    pod["status"] = without_image();
                });
            }
            let event = final_event().await;
            assert_eq!(event.kind, SandboxEventKind::Failed);
            let (expected, text) = if waits {
                (HOUR + Duration::from_secs(30), "Back-off")
            } else {
                (Duration::from_secs(30), "0/3 nodes")
            };
            assert!(event.message.contains(text), "{event:?}");
            let elapsed = begun.elapsed();
            assert!(
                elapsed >= expected && elapsed < expected + Duration::from_secs(5),
                "{reason}, {waits}: {elapsed:?}"
            );
        }
    }
}
