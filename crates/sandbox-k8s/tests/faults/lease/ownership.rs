//! Which sandboxes a Lease owns, and what a creation does with it.

use std::time::Duration;

use sandbox_core::{CreationReason, DeleteOptions, Error, Freshness, SandboxBackend, SandboxInfo};
use sandbox_testkit::apiserver::Fault;
use serde_json::json;

use super::{LASTS, holder, leases};
use crate::support::{Warnings, make, secret_name, server, spec, spec_with, watching};

#[tokio::test(start_paused = true)]
async fn one_lease_owns_all_attached_sandboxes_and_nothing_detached() {
    let server = server();
    let backend = holder(&server);
    let made = futures_util::future::join_all((0..10).map(|_| make(&backend))).await;
    let (detached, spec) = spec_with(|lifetime| lifetime.attach_timeout = None);
    backend.create(spec).await.unwrap();
    let [lease] = &leases(&server)[..] else {
        panic!("{:?}", server.object_names())
    };
    for SandboxInfo { id, .. } in &made {
        let secret = server.object("secrets", &secret_name(id)).unwrap();
        let owner = json!([{
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "name": lease["metadata"]["name"], "uid": lease["metadata"]["uid"],
        }]);
        assert_eq!(secret["metadata"]["ownerReferences"], owner);
        let pod = server.object("pods", id.as_str()).unwrap();
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "Secret");
        backend.delete(id, DeleteOptions::default()).await.unwrap();
    }
    let secret = server.object("secrets", &secret_name(&detached)).unwrap();
    assert!(secret["metadata"].get("ownerReferences").is_none());
    // Four writes for each as ever, the Lease's own apart.
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
async fn a_lease_is_made_at_the_first_create_and_goes_with_the_last_clone() {
    let server = server();
    let backend = holder(&server);
    watching(&server, &backend).await;
    assert_eq!(leases(&server).len(), 0);
    make(&backend).await;
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
async fn a_lease_that_was_deleted_by_hand_takes_its_sandboxes_and_is_made_anew() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let server = server();
    let holder = holder(&server);
    let first = make(&holder).await;
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
    make(&holder).await;
    tokio::time::sleep(5 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (3, 2)
    );
}

/// Its holder has not renewed it since.
#[tokio::test(start_paused = true)]
async fn what_is_made_just_after_a_lease_was_deleted_by_hand_stays() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let name = leases(&server)[0]["metadata"]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    server.remove("leases", &name);
    let made = futures_util::future::join_all((0..5).map(|_| make(&holder))).await;
    tokio::time::sleep(3 * LASTS).await;
    assert_eq!(
        (
            server.object_names().len(),
            server.count_requests("create leases")
        ),
        (11, 2)
    );
    assert!(
        made.iter()
            .all(|info| server.object("pods", info.id.as_str()).is_some())
    );
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_asked_for_keeps_nobody_waiting() {
    let server = server();
    let holder = holder(&server);
    make(&holder).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.inject_always("patch leases", Fault::Delay(Duration::from_secs(1_000_000)));
    for many in [1, 10] {
        let begun = tokio::time::Instant::now();
        futures_util::future::join_all((0..many).map(|_| make(&holder))).await;
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{many}: {:?}",
            begun.elapsed()
        );
    }
    assert_eq!(server.object_names().len(), 1 + 2 * 12);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_had_fails_the_creation_and_says_so() {
    for (fault, reason, said) in [
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
                    error.message.contains("Lease") && error.message.contains(said),
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
