//! A deletion removes exactly the requested instance, and all of it.

use std::time::Duration;

use sandbox_core::{DeleteOptions, Error, Freshness, SandboxBackend, Uid};
use sandbox_testkit::apiserver::Fault;

use crate::support::{
    backend, create_running, create_sandbox, object_names_of, pod, secret_name, server, spec,
    spec_with, start_watch, without_waiting,
};

#[tokio::test(start_paused = true)]
async fn a_delete_returns_when_nothing_is_left() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    server.run_pod(info.id.as_str());
    backend.delete(&info.id, without_waiting()).await.unwrap();
    assert_eq!(
        server.object_names(),
        [format!("pods/{}", info.id)],
        "its processes take a second"
    );
    backend
        .delete(&info.id, DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(server.object_names(), [""; 0]);
    backend
        .delete(&info.id, DeleteOptions::default())
        .await
        .unwrap();
    assert!(matches!(
        backend.get(&info.id, Freshness::Latest).await,
        Err(Error::NotFound { .. })
    ));
}

/// A watch that delivers events about other Pods would deliver this one, too: polling is needless.
#[tokio::test(start_paused = true)]
async fn a_slow_deletion_is_polled_only_while_the_watch_is_silent() {
    for delivers in [true, false] {
        let server = server();
        let backend = backend(&server);
        let (info, other) = (
            create_sandbox(&backend).await,
            create_sandbox(&backend).await,
        );
        server.run_pod(info.id.as_str());
        start_watch(&server, &backend).await;
        server.set_pod_deletion_delay(Duration::from_secs(50));
        server.clear_requests();
        let cluster = async {
            for count in 0.. {
                tokio::time::sleep(Duration::from_secs(4)).await;
                if delivers {
                    server.update("pods", other.id.as_str(), |pod| {
                        pod["metadata"]["generation"] = count.into()
                    });
                }
            }
        };
        tokio::select! {
            deleted = backend.delete(&info.id, DeleteOptions::default()) => deleted.unwrap(),
            () = cluster => {}
        }
        assert!(server.object("pods", info.id.as_str()).is_none());
        assert_eq!(
            server.count_requests("get pods"),
            if delivers { 0 } else { 3 }
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_does_not_stop_a_deletion() {
    for what in ["delete pods", "delete secrets"] {
        for fault in [
            Fault::lost_response(),
            Fault::CutAfter,
            Fault::CutBefore,
            Fault::too_many_requests(2),
            Fault::unavailable(),
            Fault::DelayResponse(Duration::from_secs(40)),
        ] {
            let server = server();
            let backend = backend(&server);
            let info = create_sandbox(&backend).await;
            server.inject(what, fault.clone());
            let deletion = backend.delete(&info.id, DeleteOptions::default());
            // The longest fault lasts longer than a deletion may take.
            if let Err(error) = deletion.await {
                assert!(
                    matches!(fault, Fault::DelayResponse(_)) && error.is_retryable(),
                    "{what} {fault:?}: {error}"
                );
            }
            assert_eq!(server.object_names(), [""; 0], "{what} {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_took_the_name_stays() {
    for by_uid in [true, false] {
        let server = server();
        let first = backend(&server);
        // The watch of the first client delivers nothing of what follows.
        server.inject_always(
            "watch pods",
            Fault::DelayEvents(Duration::from_secs(100_000)),
        );
        let info = create_sandbox(&first).await;
        start_watch(&server, &first).await;
        server.clear_faults();
        let second = backend(&server);
        second
            .delete(&info.id, DeleteOptions::default())
            .await
            .unwrap();
        let (_, mut spec) = spec();
        spec.id = Some(info.id.clone());
        let other = second.create(spec).await.unwrap();
        assert_ne!(other.uid, info.uid);
        let options = if by_uid {
            DeleteOptions::for_instance(info.uid)
        } else {
            DeleteOptions::default()
        };
        first.delete(&info.id, options).await.unwrap();
        assert_eq!(server.object_names(), object_names_of(&server, &info.id));
        assert_eq!(
            pod(&server, &info.id)["metadata"]["uid"],
            other.uid.as_str()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_forged_pod_cannot_get_another_secret_deleted() {
    for by_hand in [true, false] {
        let server = server();
        let theirs = serde_json::json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "payments-keys", "uid": "theirs"}, "data": {},
        });
        server.insert("secrets", theirs);
        let mut forged = {
            let id = create_running(&server).await.id;
            server.remove("secrets", &secret_name(&server, &id));
            server.remove("pods", id.as_str()).unwrap()
        };
        forged["metadata"]["name"] = "payments".into();
        forged["metadata"]["labels"]["sandbox.dev/id"] = "payments".into();
        forged["metadata"]["annotations"]["sandbox.dev/owner-uid"] = "theirs".into();
        forged["metadata"]["ownerReferences"][0]["name"] = "payments-keys".into();
        forged["metadata"]["ownerReferences"][0]["uid"] = "theirs".into();
        server.insert("pods", forged);
        let backend = backend(&server);
        if by_hand {
            backend
                .delete(&"payments".parse().unwrap(), DeleteOptions::default())
                .await
                .unwrap();
        } else {
            start_watch(&server, &backend).await;
            server.end_pod("payments", 0, "Completed");
        }
        server
            .wait_until(|server| server.object("pods", "payments").is_none())
            .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(server.object_names(), ["secrets/payments-keys"]);
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_requested_instance_is_deleted() {
    let server = server();
    let info = create_sandbox(&backend(&server)).await;
    let other = DeleteOptions::for_instance(Uid::new("former"));
    backend(&server).delete(&info.id, other).await.unwrap();
    assert_eq!(server.object_names(), object_names_of(&server, &info.id));
    backend(&server)
        .delete(&info.id, DeleteOptions::for_instance(info.uid))
        .await
        .unwrap();
    assert_eq!(server.object_names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_just_created_by_another_process_is_deleted_too() {
    let server = server();
    server.inject_always(
        "watch pods",
        Fault::DelayEvents(Duration::from_secs(100_000)),
    );
    let backend = backend(&server);
    start_watch(&server, &backend).await;
    let id = create_running(&server).await.id;
    backend.delete(&id, DeleteOptions::default()).await.unwrap();
    assert_eq!(server.object_names(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_keys_of_a_pod_deleted_by_hand_are_deleted_too() {
    for detached in [true, false] {
        let server = server();
        let (id, spec) = spec_with(|lifetime| {
            if detached {
                lifetime.attach_timeout = None;
            }
        });
        backend(&server).create(spec).await.unwrap();
        server.remove("pods", id.as_str());
        assert!(
            server
                .object("secrets", &secret_name(&server, &id))
                .is_some()
        );
        backend(&server)
            .delete(&id, DeleteOptions::default())
            .await
            .unwrap();
        assert_eq!(server.object_names(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_secret_of_that_name_stays() {
    let server = server();
    let (id, _) = spec();
    let name = format!("{id}-keys-k3v9q2xw7dk3v9q2xw7d");
    let secret = serde_json::json!({"metadata": {"name": name}, "data": {}});
    server.insert("secrets", secret);
    backend(&server)
        .delete(&id, DeleteOptions::default())
        .await
        .unwrap();
    assert_eq!(server.object_names(), [format!("secrets/{name}")]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_deletion_reports_the_reason() {
    for what in ["delete pods", "delete secrets"] {
        for (fault, expected, retryable) in [
            (Fault::Forbidden, "no permission to delete", false),
            (
                Fault::refuse(401, "Unauthorized", "Unauthorized"),
                "expired",
                false,
            ),
            (Fault::unavailable(), "503", true),
            (Fault::CutBefore, "does not respond", true),
        ] {
            let server = server();
            let backend = backend(&server);
            let info = create_sandbox(&backend).await;
            server.inject_always(what, fault.clone());
            let error = backend
                .delete(&info.id, DeleteOptions::default())
                .await
                .unwrap_err();
            assert!(
                matches!(error, Error::Deletion { .. }) && error.to_string().contains(expected),
                "{error}"
            );
            assert_eq!(error.is_retryable(), retryable, "{what} {fault:?}");
            server.clear_faults();
            backend
                .delete(&info.id, DeleteOptions::default())
                .await
                .unwrap();
            assert_eq!(server.object_names(), [""; 0], "{what} {fault:?}");
        }
    }
}
