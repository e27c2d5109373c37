//! Many Pods that start slowly at once share one watch of the cluster's events.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use sandbox_core::{EventStream, SandboxBackend, SandboxEvent, SandboxEventKind, SandboxInfo};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Injection;
use sandbox_testkit::apiserver::{ApiServer, Fault};

use crate::start::{collect_until_outcome, emit_event, schedule_pod};
use crate::{backend, spec};

const COUNT: usize = 50;
const WATCH: &str = "watch events";

fn slow_backend(server: &ApiServer) -> KubernetesBackend {
    backend(server, |options| {
        options.injection = Injection::baked();
        options.startup_grace = Duration::from_secs(30);
    })
}

/// Creates sandboxes whose Pods have a node but do not start.
async fn create_waiting(
    server: &ApiServer,
    backend: &KubernetesBackend,
) -> Vec<(SandboxInfo, EventStream)> {
    let mut waiting = Vec::new();
    for _ in 0..COUNT {
        let info = backend.create(spec().1).await.unwrap();
        let events = backend.events(&info.id).await.unwrap();
        schedule_pod(server, &info.id);
        waiting.push((info, events));
    }
    waiting
}

fn kinds(events: &[SandboxEvent]) -> Vec<SandboxEventKind> {
    events.iter().map(|event| event.kind).collect()
}

use SandboxEventKind::{Created, Failed, Pulling, Scheduled, Started, Warning};

#[tokio::test(start_paused = true)]
async fn fifty_waiting_creations_share_one_watch_and_get_their_own_reasons() {
    let server = ApiServer::new("boxes");
    let backend = slow_backend(&server);
    let waiting = create_waiting(&server, &backend).await;
    let (infos, streams): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
    let cluster = async {
        // Some events come before the watch, some during it.
        for (number, info) in infos.iter().enumerate() {
            emit_event(&server, info.uid.as_str(), "Normal", "Pulling");
            if number == COUNT / 2 {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
        for info in &infos[..10] {
            emit_event(&server, info.uid.as_str(), "Warning", "FailedMount");
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        for info in &infos[10..] {
            server.run_pod(info.id.as_str());
        }
    };
    let (outcomes, ()) = tokio::join!(
        join_all(streams.into_iter().map(collect_until_outcome)),
        cluster
    );
    for (number, events) in outcomes.iter().enumerate() {
        let expected = if number < 10 {
            vec![Created, Scheduled, Pulling, Warning, Failed]
        } else {
            vec![Created, Scheduled, Pulling, Started]
        };
        assert_eq!(kinds(events), expected, "{number}");
    }
    assert!(outcomes[0].last().unwrap().message.contains("FailedMount"));
    assert_eq!(server.count_requests(WATCH), 1);
    assert_eq!(server.count_requests("list events"), 0);
    // It ends with the last of them.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(server.count_requests(WATCH), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_costs_one_request() {
    let server = ApiServer::new("boxes");
    server.inject_always(WATCH, Fault::Forbidden);
    let backend = slow_backend(&server);
    let waiting = create_waiting(&server, &backend).await;
    let streams = waiting.iter().map(|(info, _)| info.id.clone());
    let ids: Vec<_> = streams.collect();
    let streams = waiting.into_iter().map(|(_, events)| events);
    let cluster = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        for id in &ids {
            server.run_pod(id.as_str());
        }
    };
    let (outcomes, ()) = tokio::join!(join_all(streams.map(collect_until_outcome)), cluster);
    for events in &outcomes {
        assert_eq!(kinds(events), [Created, Scheduled, Started]);
    }
    assert_eq!(server.count_requests(WATCH), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_opened_again_for_all() {
    for fault in [
        Fault::CutLine(10),
        Fault::EndAfter(10),
        Fault::ExpireWatch,
        Fault::expired(),
        Fault::unavailable(),
        Fault::too_many_requests(3),
        Fault::CutBefore,
    ] {
        let server = ApiServer::new("boxes");
        server.inject(WATCH, fault.clone());
        let backend = slow_backend(&server);
        let waiting = create_waiting(&server, &backend).await;
        let (infos, streams): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let cluster = async {
            for info in &infos {
                emit_event(&server, info.uid.as_str(), "Normal", "Pulling");
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            for info in &infos {
                server.run_pod(info.id.as_str());
            }
        };
        let (outcomes, ()) = tokio::join!(
            join_all(streams.into_iter().map(collect_until_outcome)),
            cluster
        );
        for events in &outcomes {
            let expected = [Created, Scheduled, Pulling, Started];
            assert_eq!(kinds(events), expected, "{fault:?}: each once");
        }
        assert_eq!(server.count_requests(WATCH), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_gets_the_past_events() {
    let server = ApiServer::new("boxes");
    let backend = slow_backend(&server);
    let mut waiting = create_waiting(&server, &backend).await;
    for (info, _) in &waiting {
        emit_event(&server, info.uid.as_str(), "Normal", "Pulling");
    }
    let (info, mut first) = waiting.pop().unwrap();
    for expected in [Created, Scheduled, Pulling] {
        assert_eq!(first.next().await.unwrap().unwrap().kind, expected);
    }
    // Nobody listened to this one's events while they passed.
    let (late, stream) = waiting.pop().unwrap();
    drop(stream);
    emit_event(&server, late.uid.as_str(), "Warning", "FailedMount");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut stream = backend.events(&late.id).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&Warning) {
        seen.push(stream.next().await.unwrap().unwrap().kind);
    }
    assert_eq!(seen, [Created, Scheduled, Pulling, Warning]);
    assert_eq!(server.count_requests(WATCH), 2);
    // The other one gets nothing twice.
    server.run_pod(info.id.as_str());
    assert_eq!(first.next().await.unwrap().unwrap().kind, Started);
}
