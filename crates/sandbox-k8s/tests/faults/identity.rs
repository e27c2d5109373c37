//! All calls agree on whether an id exists, and an id without a Pod is free.

use std::time::Duration;

use sandbox_core::{Error, Freshness, SandboxBackend};
use sandbox_testkit::apiserver::Fault;
use tokio::time::Instant;

use crate::support::{backend, named_spec, object_names_of, secret_name, server, without_waiting};

/// A node was drained, or the Pod was deleted with kubectl. The keys of the former sandbox are never used again:
/// a kubelet would serve the former content of a Secret with the same name.
#[tokio::test(start_paused = true)]
async fn an_id_whose_pod_is_gone_is_free_at_once() {
    let server = server();
    let (id, spec) = named_spec("web");
    for by_same_client in [true, false] {
        let first = backend(&server);
        let former = first.create(spec.clone()).await.unwrap();
        let former_secret = secret_name(&server, &id);
        server.remove("pods", id.as_str());
        server.advance_clock(Duration::from_secs(2));
        let second = if by_same_client {
            first
        } else {
            backend(&server)
        };
        let info = second.create(spec.clone()).await.unwrap();
        assert_ne!(info.uid, former.uid);
        server
            .wait_until(|server| server.object("secrets", &former_secret).is_none())
            .await;
        assert_eq!(server.object_names(), object_names_of(&server, &id));
        let access = second.access(&id).await.unwrap();
        assert_eq!(access.uid, info.uid);
        second.delete(&id, Default::default()).await.unwrap();
        assert_eq!(server.object_names(), [""; 0]);
    }
}

/// An account with the permissions of `sandbox-client` leaves the keys of a former sandbox to a sweep, and asks once.
#[tokio::test(start_paused = true)]
async fn an_account_that_may_not_list_secrets_uses_an_id_again() {
    let server = server();
    server.inject_always("list secrets", Fault::Forbidden);
    let backend = backend(&server);
    for name in ["web", "db"] {
        let (id, spec) = named_spec(name);
        backend.create(spec.clone()).await.unwrap();
        server.remove("pods", id.as_str());
        backend.create(spec).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(server.object_names().len(), 6);
    assert_eq!(server.count_requests("list secrets"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_former_pod_that_is_being_deleted_is_waited_for() {
    for (delay, frees_the_id) in [(1, true), (30, true), (3600, false)] {
        let server = server();
        server.set_pod_deletion_delay(Duration::from_secs(delay));
        let (id, spec) = named_spec("web");
        let backend = backend(&server);
        let former = backend.create(spec.clone()).await.unwrap();
        server.run_pod(id.as_str());
        backend.delete(&id, without_waiting()).await.unwrap();
        let began = Instant::now();
        match backend.create(spec).await {
            Ok(info) => assert!(frees_the_id && info.uid != former.uid),
            Err(error) => assert!(
                !frees_the_id && error.to_string().contains("still being deleted"),
                "{delay}: {error}"
            ),
        }
        assert!(began.elapsed() <= Duration::from_secs(45), "{delay}");
    }
}

/// Whatever the call, a Pod whose labels or owner were changed is no sandbox, and is left alone.
#[tokio::test(start_paused = true)]
async fn all_calls_agree_about_a_pod_that_is_no_sandbox() {
    for path in [
        "/metadata/labels",
        "/metadata/annotations",
        "/metadata/ownerReferences",
    ] {
        let server = server();
        let (id, spec) = named_spec("web");
        backend(&server).create(spec.clone()).await.unwrap();
        server.run_pod(id.as_str());
        server.set_garbage_collection(false);
        server.update("pods", id.as_str(), |pod| {
            *pod.pointer_mut(path).unwrap() = serde_json::Value::Null;
        });
        let names = server.object_names();
        let other = backend(&server);
        assert!(other.list(Default::default()).await.unwrap().is_empty());
        for freshness in [Freshness::Cached, Freshness::Latest] {
            let found = other.get(&id, freshness).await;
            assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
        }
        let access = other.access(&id).await;
        assert!(
            matches!(access.err(), Some(Error::NotFound { .. })),
            "{path}"
        );
        let log = other.logs(&id, Default::default()).await;
        assert!(matches!(log.err(), Some(Error::NotFound { .. })), "{path}");
        let events = other.events(&id).await;
        assert!(
            matches!(events.err(), Some(Error::NotFound { .. })),
            "{path}"
        );
        let extended = other.extend(&id, Duration::from_secs(900)).await;
        assert!(extended.is_err(), "{path}: {extended:?}");
        let error = other.create(spec).await.unwrap_err().to_string();
        assert!(
            error.contains("is no sandbox") && error.contains("kubectl delete pod web"),
            "{path}: {error}"
        );
        let error = other.delete(&id, Default::default()).await.unwrap_err();
        assert!(
            error.to_string().contains("nothing was deleted"),
            "{path}: {error}"
        );
        assert_eq!(server.object_names(), names, "{path}");
    }
}
