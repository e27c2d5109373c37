//! The events of a start, and when a start is given up.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{EventStream, SandboxBackend, SandboxEvent, SandboxEventKind, SandboxId};
use sandbox_k8s::options::Injection;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use crate::{backend, spec};

pub(crate) fn schedule_pod(server: &ApiServer, id: &SandboxId) {
    server.update("pods", id.as_str(), |pod| {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        });
    });
}

pub(crate) fn emit_event(server: &ApiServer, uid: &str, kind: &str, reason: &str) {
    emit_event_with_message(server, uid, kind, reason, &format!("{reason} of something"));
}

fn emit_event_with_message(server: &ApiServer, uid: &str, kind: &str, reason: &str, message: &str) {
    let name = format!("{uid}.{reason}");
    server.insert(
        "events",
        json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "uid": uid}, "type": kind, "reason": reason,
               "message": message, "lastTimestamp": "2026-01-01T00:00:02Z"}),
    );
}

/// Collects the events of a sandbox until it runs or has failed, which must happen within an hour.
pub(crate) async fn collect_until_outcome(mut events: EventStream) -> Vec<SandboxEvent> {
    let mut collected = Vec::new();
    let all = async {
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            let last = event.kind.is_final() || event.kind == SandboxEventKind::Started;
            collected.push(event);
            if last {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), all)
        .await
        .unwrap();
    collected
}

#[tokio::test(start_paused = true)]
async fn a_slow_start_is_reported_from_cluster_events() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |options| options.injection = Injection::baked());
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    for (uid, kind, reason) in [
        (info.uid.as_str(), "Normal", "Scheduled"),
        (info.uid.as_str(), "Normal", "Pulling"),
        ("other", "Normal", "Pulling"),
    ] {
        emit_event(&server, uid, kind, reason);
    }
    let mut events = backend.events(&id).await.unwrap();
    schedule_pod(&server, &id);
    let mut kinds = Vec::new();
    while kinds.last() != Some(&SandboxEventKind::Pulling) {
        kinds.push(events.next().await.unwrap().unwrap().kind);
    }
    assert_eq!(
        kinds,
        [
            SandboxEventKind::Created,
            SandboxEventKind::Scheduled,
            SandboxEventKind::Pulling
        ]
    );
    emit_event(&server, info.uid.as_str(), "Warning", "FailedMount");
    let warning = events.next().await.unwrap().unwrap();
    assert_eq!(
        (warning.kind, warning.message.as_str()),
        (SandboxEventKind::Warning, "FailedMount of something")
    );
    server.run_pod(id.as_str());
    assert_eq!(
        events.next().await.unwrap().unwrap().kind,
        SandboxEventKind::Started
    );
    assert_eq!(
        (
            server.count_requests("watch events"),
            server.count_requests("list events")
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_fast_start_or_a_missing_permission_uses_no_cluster_events() {
    let (fast, forbidden) = (ApiServer::new("boxes"), ApiServer::new("boxes"));
    forbidden.inject_always("watch events", Fault::Forbidden);
    for (server, pause, asked) in [(&fast, 0, 0), (&forbidden, 5, 1)] {
        let backend = backend(server, |options| options.injection = Injection::baked());
        let (id, spec) = spec();
        backend.create(spec).await.unwrap();
        let mut events = backend.events(&id).await.unwrap();
        schedule_pod(server, &id);
        let runs = async {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            server.run_pod(id.as_str());
        };
        let listens = async {
            let mut kinds = Vec::new();
            while kinds.last() != Some(&SandboxEventKind::Addressed) {
                kinds.push(events.next().await.unwrap().unwrap().kind);
            }
            // No further event comes once the sandbox runs.
            assert!(
                tokio::time::timeout(Duration::from_secs(60), events.next())
                    .await
                    .is_err()
            );
            kinds
        };
        let (kinds, ()) = tokio::join!(listens, runs);
        assert!(kinds.contains(&SandboxEventKind::Started), "{kinds:?}");
        assert_eq!(server.count_requests("watch events"), asked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_fails_only_while_a_warning_blocks_the_pod() {
    let grace = Duration::from_secs(30);
    // The events of a Pod that needs two minutes to start, and whether its start is waited for.
    for (emitted, survives) in [
        (&[("Warning", "DNSConfigForming")][..], true),
        (
            &[
                ("Warning", "FailedMount"),
                ("Normal", "SuccessfulAttachVolume"),
            ],
            true,
        ),
        (&[("Warning", "FailedMount"), ("Normal", "Pulled")], true),
        (&[("Warning", "FailedMount")], false),
        (
            &[("Normal", "Pulling"), ("Warning", "FailedCreatePodSandBox")],
            false,
        ),
    ] {
        let server = ApiServer::new("boxes");
        let backend = backend(&server, |options| {
            options.injection = Injection::baked();
            options.startup_grace = grace;
        });
        let (id, spec) = spec();
        let info = backend.create(spec).await.unwrap();
        let events = backend.events(&id).await.unwrap();
        schedule_pod(&server, &id);
        let cluster = async {
            for (kind, reason) in emitted {
                tokio::time::sleep(Duration::from_secs(5)).await;
                emit_event(&server, info.uid.as_str(), kind, reason);
            }
            tokio::time::sleep(Duration::from_secs(120)).await;
            server.run_pod(id.as_str());
        };
        let (events, ()) = tokio::join!(collect_until_outcome(events), cluster);
        let last = events.last().unwrap();
        let expected = if survives {
            SandboxEventKind::Started
        } else {
            SandboxEventKind::Failed
        };
        assert_eq!(last.kind, expected, "{emitted:?}: {events:?}");
        let (_, reason) = emitted.last().unwrap();
        assert!(survives || last.message.contains(reason), "{events:?}");
    }
}

/// The API server accepts image volumes, but the kubelet of the node is older or has them disabled.
#[tokio::test(start_paused = true)]
async fn a_kubelet_without_image_volumes_is_diagnosed_from_its_event() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |_| {});
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    let events = backend.events(&id).await.unwrap();
    schedule_pod(&server, &id);
    let emitted = "Unable to attach or mount volumes: unmounted volumes=[sandbox-server], unattached volumes=[], failed \
                to process volumes=[sandbox-server]: failed to get Plugin from volumeSpec for volume \
                \"sandbox-server\" err=no volume plugin matched";
    emit_event_with_message(
        &server,
        info.uid.as_str(),
        "Warning",
        "FailedMount",
        emitted,
    );
    let begun = tokio::time::Instant::now();
    let events = collect_until_outcome(events).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "at once: {events:?}"
    );
    assert!(
        events
            .last()
            .unwrap()
            .message
            .contains("cannot mount the SSH server's image"),
        "{events:?}"
    );
    let diagnosis = backend.diagnose(&id).await.unwrap();
    assert!(
        diagnosis.has_fallback && diagnosis.summary.contains("kubelet"),
        "{}",
        diagnosis.summary
    );

    let (next, spec) = crate::spec();
    backend.create(spec).await.unwrap();
    let pod = server.object("pods", next.as_str()).unwrap();
    assert!(
        pod["spec"]["initContainers"].is_array(),
        "an init container works on every cluster: {pod}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_watch_that_ends_resumes_where_it_stopped() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |options| options.injection = Injection::baked());
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    server.inject("watch events", Fault::EndAfter(1));
    let events = backend.events(&id).await.unwrap();
    schedule_pod(&server, &id);
    emit_event(&server, info.uid.as_str(), "Normal", "Pulling");
    let cluster = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        emit_event(&server, info.uid.as_str(), "Warning", "Unhealthy");
        tokio::time::sleep(Duration::from_secs(20)).await;
        server.run_pod(id.as_str());
    };
    let (events, ()) = tokio::join!(collect_until_outcome(events), cluster);
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    use SandboxEventKind::{Created, Pulling, Scheduled, Started, Warning};
    assert_eq!(
        kinds,
        [Created, Scheduled, Pulling, Warning, Started],
        "each once: {events:?}"
    );
}
