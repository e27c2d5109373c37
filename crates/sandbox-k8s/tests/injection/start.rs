//! How a start is told, and when it is given up.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{EventStream, SandboxBackend, SandboxEvent, SandboxEventKind, SandboxId};
use sandbox_k8s::options::Injection;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use crate::{backend, spec};

fn scheduled(server: &ApiServer, id: &SandboxId) {
    server.update("pods", id.as_str(), |pod| {
        pod["spec"]["nodeName"] = json!("node-1");
        pod["status"] = json!({
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
        });
    });
}

fn cluster_says(server: &ApiServer, uid: &str, kind: &str, reason: &str) {
    cluster_says_more(server, uid, kind, reason, &format!("{reason} of something"));
}

fn cluster_says_more(server: &ApiServer, uid: &str, kind: &str, reason: &str, message: &str) {
    let name = format!("{uid}.{reason}");
    server.insert(
        "events",
        json!({"metadata": {"name": name}, "involvedObject": {"uid": uid}, "type": kind, "reason": reason,
               "message": message, "lastTimestamp": "2026-01-01T00:00:02Z"}),
    );
}

/// All that is told of a sandbox until it runs or has failed, which has to come within an hour.
async fn outcome(mut events: EventStream) -> Vec<SandboxEvent> {
    let mut told = Vec::new();
    let all = async {
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            let last = event.kind.is_final() || event.kind == SandboxEventKind::Started;
            told.push(event);
            if last {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3600), all)
        .await
        .unwrap();
    told
}

#[tokio::test(start_paused = true)]
async fn what_takes_long_is_told_by_the_clusters_events() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |options| options.injection = Injection::baked());
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    for (uid, kind, reason) in [
        (info.uid.as_str(), "Normal", "Scheduled"),
        (info.uid.as_str(), "Normal", "Pulling"),
        ("other", "Normal", "Pulling"),
    ] {
        cluster_says(&server, uid, kind, reason);
    }
    let mut events = backend.events(&id).await.unwrap();
    scheduled(&server, &id);
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
    cluster_says(&server, info.uid.as_str(), "Warning", "FailedMount");
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
async fn who_starts_fast_or_may_not_see_events_does_without() {
    let (fast, forbidden) = (ApiServer::new("boxes"), ApiServer::new("boxes"));
    forbidden.inject_always("watch events", Fault::Forbidden);
    for (server, pause, asked) in [(&fast, 0, 0), (&forbidden, 5, 1)] {
        let backend = backend(server, |options| options.injection = Injection::baked());
        let (id, spec) = spec();
        backend.create(spec).await.unwrap();
        let mut events = backend.events(&id).await.unwrap();
        scheduled(server, &id);
        let runs = async {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            server.run_pod(id.as_str());
        };
        let listens = async {
            let mut kinds = Vec::new();
            while kinds.last() != Some(&SandboxEventKind::Addressed) {
                kinds.push(events.next().await.unwrap().unwrap().kind);
            }
            // Nothing more is asked for once it runs.
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
async fn only_what_blocks_a_pod_is_given_up_and_only_while_it_does() {
    let grace = Duration::from_secs(30);
    // What is said of a Pod that needs two minutes, and whether it is waited for.
    for (said, survives) in [
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
        scheduled(&server, &id);
        let cluster = async {
            for (kind, reason) in said {
                tokio::time::sleep(Duration::from_secs(5)).await;
                cluster_says(&server, info.uid.as_str(), kind, reason);
            }
            tokio::time::sleep(Duration::from_secs(120)).await;
            server.run_pod(id.as_str());
        };
        let (told, ()) = tokio::join!(outcome(events), cluster);
        let last = told.last().unwrap();
        let expected = if survives {
            SandboxEventKind::Started
        } else {
            SandboxEventKind::Failed
        };
        assert_eq!(last.kind, expected, "{said:?}: {told:?}");
        let (_, reason) = said.last().unwrap();
        assert!(survives || last.message.contains(reason), "{told:?}");
    }
}

/// The API server takes image volumes, and the kubelet of the chosen machine is older, or has them switched off.
#[tokio::test(start_paused = true)]
async fn a_kubelet_that_cannot_mount_images_is_told_by_its_event_alone() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |_| {});
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    let events = backend.events(&id).await.unwrap();
    scheduled(&server, &id);
    let said = "Unable to attach or mount volumes: unmounted volumes=[sandbox-server], unattached volumes=[], failed \
                to process volumes=[sandbox-server]: failed to get Plugin from volumeSpec for volume \
                \"sandbox-server\" err=no volume plugin matched";
    cluster_says_more(&server, info.uid.as_str(), "Warning", "FailedMount", said);
    let begun = tokio::time::Instant::now();
    let told = outcome(events).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "at once: {told:?}"
    );
    assert!(
        told.last()
            .unwrap()
            .message
            .contains("cannot mount the SSH server's image"),
        "{told:?}"
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
        "the way that always works: {pod}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_watch_that_ends_goes_on_where_it_was() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, |options| options.injection = Injection::baked());
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    server.inject("watch events", Fault::EndAfter(1));
    let events = backend.events(&id).await.unwrap();
    scheduled(&server, &id);
    cluster_says(&server, info.uid.as_str(), "Normal", "Pulling");
    let cluster = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        cluster_says(&server, info.uid.as_str(), "Warning", "Unhealthy");
        tokio::time::sleep(Duration::from_secs(20)).await;
        server.run_pod(id.as_str());
    };
    let (told, ()) = tokio::join!(outcome(events), cluster);
    let kinds: Vec<_> = told.iter().map(|event| event.kind).collect();
    use SandboxEventKind::{Created, Pulling, Scheduled, Started, Warning};
    assert_eq!(
        kinds,
        [Created, Scheduled, Pulling, Warning, Started],
        "each once: {told:?}"
    );
}
