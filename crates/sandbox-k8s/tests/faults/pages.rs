//! Long lists: in pages, streamed where the API server offers it, and interrupted in the middle.

use std::time::Duration;

use sandbox_core::{ListFilter, SandboxBackend, SandboxId, SweepOptions};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{backend, create_sandbox, pod, secret_name, server};

/// Three pages of 500.
const COUNT: usize = 1200;
const PAGES: usize = 3;

/// A server with running sandboxes of a client that has ended.
async fn server_with_sandboxes(count: usize) -> ApiServer {
    let server = server();
    let first = create_sandbox(&backend(&server)).await;
    server.run_pod(first.id.as_str());
    for _ in 1..count {
        copy_sandbox(&server, &first.id, &SandboxId::generate().unwrap());
    }
    server.clear_requests();
    server
}

/// Stores a sandbox like another one, with an id and uids of its own.
fn copy_sandbox(server: &ApiServer, from: &SandboxId, id: &SandboxId) {
    let copy = |object: &Value, uid: (&str, &str)| -> Value {
        let text = object.to_string().replace(from.as_str(), id.as_str());
        serde_json::from_str(&text.replace(uid.0, uid.1)).unwrap()
    };
    let secret = server
        .object("secrets", &secret_name(server, from))
        .unwrap();
    let former = secret["metadata"]["uid"].as_str().unwrap();
    let uid = format!("secret-of-{id}");
    server.insert("secrets", copy(&secret, (former, &uid)));
    let mut pod = copy(&pod(server, from), (former, &uid));
    pod["metadata"]["uid"] = Value::Null;
    server.insert("pods", pod);
}

/// The ids of all sandboxes, in the order of a list.
fn ids(server: &ApiServer) -> Vec<SandboxId> {
    let names = server.object_names();
    let names = names.iter().filter_map(|name| name.strip_prefix("pods/"));
    names.map(|name| name.parse().unwrap()).collect()
}

/// Starts the watch of a client, and waits until it has its list.
async fn start_watch(server: &ApiServer) -> KubernetesBackend {
    let backend = backend(server);
    drop(backend.events(&SandboxId::generate().unwrap()).await);
    server.wait_for_requests("watch pods", 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    backend
}

/// How many sandboxes the client knows without a request.
async fn count_known(server: &ApiServer, backend: &KubernetesBackend) -> usize {
    let before = server.requests().len();
    let listed = backend.list(ListFilter::default()).await.unwrap();
    assert_eq!(server.requests().len(), before, "the index is not live");
    listed.len()
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_requested_in_pages_each_once() {
    let server = server_with_sandboxes(COUNT).await;
    let backend = start_watch(&server).await;
    assert_eq!(server.count_requests("list pods"), PAGES);
    assert_eq!(server.count_requests("watch pods"), 1);
    assert_eq!(count_known(&server, &backend).await, COUNT);
}

#[tokio::test(start_paused = true)]
async fn only_the_page_that_failed_is_requested_again() {
    let server = server_with_sandboxes(COUNT).await;
    for (fault, wait) in [
        (Fault::too_many_requests(7), 7),
        (Fault::unavailable(), 0),
        (Fault::lost_response(), 0),
        (Fault::CutBefore, 0),
        (Fault::CutAfter, 0),
        (Fault::Delay(Duration::from_secs(60)), 15),
        (Fault::DelayResponse(Duration::from_secs(60)), 15),
    ] {
        server.clear_requests();
        server.inject("continue pods", fault.clone());
        let begun = Instant::now();
        let backend = start_watch(&server).await;
        let took = begun.elapsed();
        assert_eq!(server.count_requests("list pods"), PAGES + 1, "{fault:?}");
        assert_eq!(count_known(&server, &backend).await, COUNT, "{fault:?}");
        let expected = Duration::from_secs(wait)..Duration::from_secs(wait + 2);
        assert!(expected.contains(&took), "{fault:?}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_continuation_that_expired_restarts_the_list() {
    let server = server_with_sandboxes(COUNT).await;
    server.inject("continue pods", Fault::expired());
    let backend = start_watch(&server).await;
    assert_eq!(server.count_requests("list pods"), 2 + PAGES);
    assert_eq!(count_known(&server, &backend).await, COUNT);
}

#[tokio::test(start_paused = true)]
async fn what_changes_between_two_pages_is_noticed() {
    let server = server_with_sandboxes(COUNT).await;
    let ids = ids(&server);
    server.inject("continue pods", Fault::Delay(Duration::from_secs(5)));
    let backend = backend(&server);
    drop(backend.events(&SandboxId::generate().unwrap()).await);
    server.wait_for_requests("list pods", 2).await;
    // The first is in the page that was received, the last is not.
    server.remove("pods", ids[0].as_str());
    server.remove("pods", ids[COUNT - 1].as_str());
    server.wait_for_requests("watch pods", 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(count_known(&server, &backend).await, COUNT - 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_restarts_in_the_middle_of_a_list_is_waited_for() {
    let server = server_with_sandboxes(COUNT).await;
    for outage in [20, 600] {
        server.clear_requests();
        server.inject("continue pods", Fault::Delay(Duration::from_secs(1)));
        let backend = backend(&server);
        drop(backend.events(&SandboxId::generate().unwrap()).await);
        server.wait_for_requests("list pods", 2).await;
        server.set_unreachable(true);
        tokio::time::sleep(Duration::from_secs(outage)).await;
        server.compact_history();
        server.set_unreachable(false);
        server.wait_for_requests("watch pods", 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(count_known(&server, &backend).await, COUNT, "{outage}");
        // The rest of the first list, if it was available, or a new list.
        let lists = server.count_requests("list pods");
        assert!(lists <= 2 * PAGES, "{outage}: {lists}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_list_is_streamed_where_the_api_server_offers_it() {
    let server = server_with_sandboxes(COUNT).await;
    server.set_streaming_lists(true);
    let backend = start_watch(&server).await;
    let ids = ids(&server);
    for round in 1..=3 {
        server.clear_requests();
        server.inject("watch pods", Fault::Delay(Duration::from_secs(2)));
        server.cut_watches();
        server.wait_for_requests("watch pods", 1).await;
        server.remove("pods", ids[0].as_str());
        server.compact_history();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(count_known(&server, &backend).await, COUNT - 1, "{round}");
        // The first watch has expired. The second one delivers the list, and what follows.
        assert_eq!(server.count_requests("list pods"), 0, "{round}");
        assert_eq!(server.count_requests("watch pods"), 2, "{round}");
        copy_sandbox(&server, &ids[1], &ids[0]);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(count_known(&server, &backend).await, COUNT, "{round}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_streamed_is_requested_in_pages_from_then_on() {
    let server = server_with_sandboxes(COUNT).await;
    for (streams, fault) in [
        (false, None),
        (true, Some(Fault::CutLine(700))),
        (true, Some(Fault::EndAfter(700))),
        (true, Some(Fault::too_many_requests(2))),
        (true, Some(Fault::ExpireWatch)),
    ] {
        server.clear_requests();
        server.set_streaming_lists(streams);
        let backend = start_watch(&server).await;
        for round in 1..=2 {
            server.clear_requests();
            server.inject("watch pods", Fault::expired());
            if round == 1
                && let Some(fault) = &fault
            {
                server.inject("watch pods", fault.clone());
            }
            server.cut_watches();
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert_eq!(
                count_known(&server, &backend).await,
                COUNT,
                "{fault:?} {round}"
            );
            assert_eq!(
                server.count_requests("list pods"),
                PAGES,
                "{fault:?} {round}"
            );
            // The one that has expired, the one that failed in the first round, and the one that runs.
            let watches = server.count_requests("watch pods");
            assert_eq!(watches, if round == 1 { 3 } else { 2 }, "{fault:?} {round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sweep_of_many_reads_pages_and_deletes_each_once() {
    let server = server_with_sandboxes(COUNT).await;
    for id in ids(&server) {
        server.end_pod(id.as_str(), 0, "Completed");
    }
    server.set_pod_deletion_delay(Duration::ZERO);
    server.inject("continue pods", Fault::expired());
    let report = backend(&server)
        .sweep(SweepOptions::default())
        .await
        .unwrap();
    assert_eq!((report.removed.len(), report.failed.len()), (COUNT, 0));
    assert_eq!(server.count_requests("delete pods"), COUNT);
    assert_eq!(server.count_requests("list secrets"), PAGES);
    assert_eq!(server.count_requests("list pods"), 2 + PAGES);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_continuation_always_expires_is_given_up() {
    let server = server_with_sandboxes(COUNT).await;
    server.inject_always("continue pods", Fault::expired());
    let refused = backend(&server).sweep(SweepOptions::default()).await;
    assert!(refused.is_err(), "{refused:?}");
    // The list started four times.
    assert_eq!(server.count_requests("list pods"), 8);
}
