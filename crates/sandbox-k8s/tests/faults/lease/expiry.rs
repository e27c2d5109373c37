//! Expired Leases are deleted with the sandboxes that they own; forged ones stay.

use std::time::Duration;

use sandbox_core::{SandboxBackend, SweepOptions};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use super::{LASTS, holder, leases};
use crate::support::{backend, create_sandbox, server, start_watch};

/// Creates sandboxes as a process that is then killed: no task continues and no cleanup runs.
fn run_in_killed_process(
    server: &ApiServer,
    create: impl AsyncFnOnce(&KubernetesBackend) + Send + 'static,
) {
    let server = server.clone();
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let backend = runtime.block_on(async { holder(&server) });
        runtime.block_on(create(&backend));
        drop(runtime);
        drop(backend);
    });
    process.join().unwrap();
}

#[tokio::test(start_paused = true)]
async fn sandboxes_of_a_killed_process_are_deleted_when_its_lease_expires() {
    for swept in [true, false] {
        for step in ["create secrets", "create pods", "watch pods"] {
            let server = server();
            let other = create_sandbox(&backend(&server)).await;
            let seen = server.clone();
            run_in_killed_process(&server, async move |backend| {
                // The process is killed in the middle of a creation, or after two.
                if step == "watch pods" {
                    create_sandbox(backend).await;
                    create_sandbox(backend).await;
                    return;
                }
                seen.inject(step, Fault::DelayResponse(Duration::from_secs(20)));
                let before = seen.count_requests(step);
                tokio::select! {
                    biased;
                    () = seen.wait_for_requests(step, before + 1) => tokio::time::sleep(Duration::from_secs(1)).await,
                    _ = create_sandbox(backend) => panic!("the creation finished before the process was killed"),
                }
            });
            let left = server.object_names().len();
            assert!(left > 3, "{step}: {:?}", server.object_names());
            let client = backend(&server);
            if swept {
                let sweep = async |options| client.sweep(options).await.unwrap().removed.len();
                assert_eq!(sweep(SweepOptions::default()).await, 0, "{step}: not yet");
                server.advance_clock(LASTS + Duration::from_secs(5));
                let dry = sweep(SweepOptions::dry_run()).await;
                assert_eq!(
                    (dry, server.object_names().len()),
                    (if step == "watch pods" { 2 } else { 1 }, left),
                    "{step}"
                );
                assert_eq!(sweep(SweepOptions::default()).await, dry, "{step}");
            } else if step == "create secrets" {
                // A client that watches only Pods cannot notice a lone Secret; only a sweep removes it.
                continue;
            } else {
                start_watch(&server, &client).await;
            }
            let deleted = server.wait_until(|server| server.object_names().len() == 2);
            tokio::time::timeout(Duration::from_secs(300), deleted)
                .await
                .unwrap_or_else(|_| panic!("{step}: {:?}", server.object_names()));
            assert!(server.object("pods", other.id.as_str()).is_some(), "{step}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_lease_stays_and_an_annotation_deletes_no_sandbox() {
    let server = server();
    let lease = |name: &str, id: &str, holder: &str| {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": id}},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 1, "renewTime": "2020-01-01T00:00:00.000000Z"},
        })
    };
    for forged in [
        lease(
            "kube-controller-manager",
            "kube-controller-manager",
            "node-1",
        ),
        lease("sbx-a-owner", "sbx-b", "sbx-a"),
        lease("sbx-a-keys", "sbx-a", "sbx-a"),
        lease("sbx-c-owner", "sbx-c", "somebody"),
    ] {
        server.insert("leases", forged);
    }
    // The annotation of this sandbox claims that it belongs to an expired Lease.
    let id = create_sandbox(&backend(&server)).await.id;
    server.insert("leases", lease("sbx-d-owner", "sbx-d", "sbx-d"));
    server.update("pods", id.as_str(), |pod| {
        pod["metadata"]["annotations"]["sandbox.dev/lease"] = json!("sbx-d");
    });
    let client = holder(&server);
    start_watch(&server, &client).await;
    tokio::time::sleep(3 * LASTS).await;
    client.sweep(SweepOptions::default()).await.unwrap();
    assert_eq!(leases(&server).len(), 4, "{:?}", server.object_names());
    assert!(
        server.object("leases", "sbx-d-owner").is_none(),
        "an expired managed Lease is deleted"
    );
    assert!(server.object("pods", id.as_str()).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_leaves_a_long_lease_to_clients_that_watch() {
    let server = server();
    let id = "sbx-d";
    server.insert(
        "leases",
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "sbx-d-owner", "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": id}},
            "spec": {"holderIdentity": id, "leaseDurationSeconds": 3600, "renewTime": "2020-01-01T00:00:00.000000Z"},
        }),
    );
    let client = holder(&server);
    let begun = tokio::time::Instant::now();
    assert!(
        client
            .sweep(SweepOptions::default())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    start_watch(&server, &client).await;
    tokio::time::sleep(Duration::from_secs(3600 / 3)).await;
    assert_eq!(
        leases(&server).len(),
        1,
        "its holder may be about to renew it"
    );
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(leases(&server).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_permission_to_list_leases_deletes_none() {
    let server = server();
    run_in_killed_process(&server, async |backend| drop(create_sandbox(backend).await));
    server.advance_clock(LASTS + Duration::from_secs(5));
    server.inject_always("list leases", Fault::Forbidden);
    let client = backend(&server);
    start_watch(&server, &client).await;
    assert!(
        client
            .sweep(SweepOptions::default())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    tokio::time::sleep(3 * LASTS).await;
    assert_eq!(server.object_names().len(), 3);
}
