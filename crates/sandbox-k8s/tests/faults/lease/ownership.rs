//! Which sandboxes a Lease owns, and what a creation does with it.

use std::time::Duration;

use sandbox_core::{CreationReason, DeleteOptions, Error, Freshness, SandboxBackend, SandboxInfo};
use sandbox_testkit::apiserver::Fault;
use serde_json::json;

use super::{LASTS, holder, leases};
use crate::support::{Warnings, create_sandbox, secret_name, server, spec, spec_with, start_watch};

#[tokio::test(start_paused = true)]
async fn one_lease_owns_all_attached_and_no_detached_sandboxes() {
    let server = server();
    let backend = holder(&server);
    let created = futures_util::future::join_all((0..10).map(|_| create_sandbox(&backend))).await;
    let (detached, spec) = spec_with(|lifetime| lifetime.attach_timeout = None);
    backend.create(spec).await.unwrap();
    let [lease] = &leases(&server)[..] else {
        panic!("{:?}", server.object_names())
    };
    for SandboxInfo { id, .. } in &created {
        let secret = server.object("secrets", &secret_name(&server, id)).unwrap();
        let owner = json!([{
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "name": lease["metadata"]["name"], "uid": lease["metadata"]["uid"],
        }]);
        assert_eq!(secret["metadata"]["ownerReferences"], owner);
        let pod = server.object("pods", id.as_str()).unwrap();
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Secret");
        backend.delete(id, DeleteOptions::default()).await.unwrap();
    }
    let secret = server
        .object("secrets", &secret_name(&server, &detached))
        .unwrap();
    assert!(secret["metadata"].get("ownerReferences").is_none());
    // Each sandbox takes its usual four writes; the Lease adds two.
    assert_eq!(
        (server.count_writes(), server.count_reads()),
        (10 * 4 + 2, 0)
    );
    assert_eq!(
        (
            server.count_requests("create leases"),
            server.count_requests("list leases")
        ),
        (1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_created_with_the_first_sandbox_and_deleted_with_the_last_clone() {
    let server = server();
    let backend = holder(&server);
    start_watch(&server, &backend).await;
    assert_eq!(leases(&server).len(), 0);
    create_sandbox(&backend).await;
    let clone = backend.clone();
    drop(backend);
    tokio::time::sleep(5 * LASTS).await;
    assert_eq!(server.object_names().len(), 3);
    drop(clone);
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_deleted_by_hand_takes_its_sandboxes_and_is_created_anew() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = server();
    let holder = holder(&server);
    let first = create_sandbox(&holder).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove("leases", &name);
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
    tokio::time::sleep(LASTS).await;
    assert_eq!(warnings.count(), 1);
    assert!(matches!(
        holder.get(&first.id, Freshness::Cached).await,
        Err(Error::NotFound { .. })
    ));
    create_sandbox(&holder).await;
    tokio::time::sleep(5 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (3, 2)
    );
}

/// The holder has not tried to renew the Lease since its deletion.
#[tokio::test(start_paused = true)]
async fn sandboxes_created_just_after_a_lease_was_deleted_by_hand_stay() {
    let server = server();
    let holder = holder(&server);
    create_sandbox(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove("leases", &name);
    let created = futures_util::future::join_all((0..5).map(|_| create_sandbox(&holder))).await;
    tokio::time::sleep(3 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (11, 2)
    );
    assert!(
        created
            .iter()
            .all(|info| server.object("pods", info.id.as_str()).is_some())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_does_not_respond_delays_no_creation() {
    let server = server();
    let holder = holder(&server);
    create_sandbox(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.inject_always("patch leases", Fault::Delay(Duration::from_secs(1_000_000)));
    for many in [1, 10] {
        let begun = tokio::time::Instant::now();
        futures_util::future::join_all((0..many).map(|_| create_sandbox(&holder))).await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{many}: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(server.object_names().len(), 1 + 2 * 12);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_created_fails_the_creation_with_the_reason() {
    for (fault, reason, expected) in [
        (
            Fault::Forbidden,
            CreationReason::Rejected,
            "no permission to create leases",
        ),
        (
            Fault::CutBefore,
            CreationReason::Unavailable,
            "does not respond",
        ),
    ] {
        let server = server();
        server.inject_always("create leases", fault);
        let (id, spec) = spec();
        match holder(&server).create(spec).await.unwrap_err() {
            Error::Creation(error) => {
                assert_eq!((&error.id, error.reason), (&id, reason));
                assert!(
                    error.message.contains("Lease") && error.message.contains(expected),
                    "{}",
                    error.message
                );
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(
            (server.object_names(), server.count_writes()),
            (Vec::new(), 0)
        );
    }
}
