//! A creation creates one sandbox despite lost responses, and a failed one leaves nothing.

use std::time::Duration;

use sandbox_core::{CreationReason, Error, Lifetime, SandboxBackend};
use sandbox_testkit::apiserver::{ApiServer, Fault};
use tokio::time::Instant;

use crate::support::{
    backend, create_sandbox, object_names_of, secret_name, server, spec, spec_with,
};

const STEPS: [&str; 2] = ["create secrets", "create pods"];

#[tokio::test(start_paused = true)]
async fn each_creation_creates_one_sandbox_despite_lost_responses() {
    for step in STEPS {
        for fault in [
            Fault::lost_response(),
            Fault::CutAfter,
            Fault::CutBefore,
            Fault::unavailable(),
            Fault::too_many_requests(1),
            // This is longer than one attempt may take.
            Fault::DelayResponse(Duration::from_secs(40)),
            Fault::refuse(500, "InternalError", "etcdserver: leader changed"),
            Fault::refuse(
                409,
                "Conflict",
                "Operation cannot be fulfilled on resourcequotas \"q\"",
            ),
        ] {
            let server = server();
            server.inject(step, fault.clone());
            let (id, spec) = spec();
            let info = backend(&server)
                .create(spec)
                .await
                .unwrap_or_else(|e| panic!("{step} {fault:?}: {e}"));
            assert_eq!(
                server.object_names(),
                object_names_of(&server, &id),
                "{step} {fault:?}"
            );
            let found = server.object("pods", id.as_str()).unwrap();
            assert_eq!(
                found["metadata"]["uid"],
                info.uid.as_str(),
                "{step} {fault:?}"
            );
            assert_eq!(
                server.count_requests(step),
                2,
                "{step} {fault:?}: retried once"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_taken_name_is_requested_only_once() {
    let server = server();
    let (id, first) = spec();
    let backend = backend(&server);
    backend.create(first.clone()).await.unwrap();
    let objects = |server: &ApiServer| {
        let names = server.object_names();
        names
            .into_iter()
            .map(|name| {
                let (resource, name) = name.split_once('/').unwrap();
                server.object(resource, name)
            })
            .collect::<Vec<_>>()
    };
    let before = objects(&server);
    server.clear_requests();
    assert!(matches!(
        backend.create(first).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(
        (
            server.count_requests("create secrets"),
            server.count_requests("create pods")
        ),
        (1, 1)
    );
    assert_eq!(objects(&server), before, "untouched");
    // The Secret was removed by hand without garbage collection: the Pod still has the name.
    server.set_garbage_collection(false);
    server.remove("secrets", &secret_name(&server, &id));
    server.clear_requests();
    let (_, mut second) = spec();
    second.id = Some(id.clone());
    assert!(matches!(
        backend.create(second).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(
        (server.count_requests("create pods"), server.object_names()),
        (1, vec![format!("pods/{id}")])
    );
}

#[tokio::test(start_paused = true)]
async fn a_conflict_with_another_sandbox_stays_one_after_a_lost_response() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    let (_, mut spec) = spec();
    spec.id = Some(info.id.clone());
    server.inject("create secrets", Fault::CutAfter);
    assert!(matches!(
        backend.create(spec).await,
        Err(Error::AlreadyExists { .. })
    ));
    assert_eq!(server.object_names(), object_names_of(&server, &info.id));
}

#[tokio::test(start_paused = true)]
async fn a_refused_creation_leaves_nothing() {
    let quota = "pods \"x\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=4, limited: pods=4";
    let ends = "pods \"x\" is forbidden: unable to create new content in namespace boxes because it is being terminated";
    for step in STEPS {
        for (fault, reason, expected) in [
            (
                Fault::refuse(403, "Forbidden", quota),
                CreationReason::Quota,
                "exceeded quota",
            ),
            (
                Fault::Forbidden,
                CreationReason::Rejected,
                step.split(' ').next_back().unwrap(),
            ),
            (
                Fault::refuse(403, "Forbidden", ends),
                CreationReason::Rejected,
                "being deleted",
            ),
            (
                Fault::refuse(401, "Unauthorized", "Unauthorized"),
                CreationReason::Rejected,
                "expired",
            ),
            (
                Fault::refuse(422, "Invalid", "spec: Invalid value"),
                CreationReason::Rejected,
                "Invalid value",
            ),
        ] {
            let server = server();
            server.inject(step, fault.clone());
            match backend(&server).create(spec().1).await.unwrap_err() {
                Error::Creation(error) => {
                    assert_eq!(error.reason, reason, "{step} {fault:?}");
                    assert!(
                        error.message.contains(expected),
                        "{step} {fault:?}: {}",
                        error.message
                    );
                }
                other => panic!("{step} {fault:?}: {other:?}"),
            }
            assert_eq!(server.object_names(), [""; 0], "{step} {fault:?}");
            assert_eq!(
                server.count_requests(step),
                1,
                "{step} {fault:?}: one attempt"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_times_out_leaves_nothing_and_says_when_to_retry() {
    for step in STEPS {
        for (fault, after) in [
            (Fault::unavailable(), 1),
            (Fault::too_many_requests(40), 40),
            (Fault::CutAfter, 1),
        ] {
            let server = server();
            server.inject_times(step, 1000, fault.clone());
            // The lookup that follows a lost response fails as well.
            server.inject_always(
                if step == STEPS[0] {
                    "get secrets"
                } else {
                    "get pods"
                },
                Fault::unavailable(),
            );
            let began = Instant::now();
            let backend = backend(&server);
            let creation = backend.create(spec().1);
            let error = tokio::time::timeout(Duration::from_secs(120), creation)
                .await
                .unwrap()
                .unwrap_err();
            assert!(error.is_retryable(), "{step} {fault:?}: {error}");
            if after > 1 {
                assert_eq!(
                    error.retry_after(),
                    Some(Duration::from_secs(after)),
                    "{step}"
                );
                // The client waits as long as the server asks, but at most ten seconds at a time.
                assert_eq!(server.count_requests(step), 6, "{step}");
            }
            assert!(
                began.elapsed() <= Duration::from_secs(75),
                "{:?}",
                began.elapsed()
            );
            server.clear_faults();
            server
                .wait_until(|server| server.object_names().is_empty())
                .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_dropped_half_way_leaves_nothing() {
    for step in STEPS {
        for fault in [
            Fault::Delay(Duration::from_secs(2)),
            Fault::DelayResponse(Duration::from_secs(2)),
            Fault::lost_response(),
            Fault::CutAfter,
        ] {
            let server = server();
            server.inject_times(step, 2, fault.clone());
            server.inject_times("delete secrets", 2, Fault::unavailable());
            server.inject_times("delete pods", 2, Fault::CutBefore);
            let backend = backend(&server);
            {
                let creation = backend.create(spec().1);
                tokio::pin!(creation);
                let dropped = tokio::select! {
                    biased;
                    () = server.wait_for_requests(step, 1) => true,
                    created = &mut creation => created.is_err(),
                };
                assert!(dropped, "{step} {fault:?}");
            }
            backend.settle().await;
            assert_eq!(server.object_names(), [""; 0], "{step} {fault:?}");
            assert!(
                backend.list(Default::default()).await.unwrap().is_empty(),
                "{step} {fault:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn objects_that_appear_after_the_creation_gave_up_are_removed() {
    for step in STEPS {
        let server = server();
        // Each attempt takes effect long after its caller stopped waiting for it.
        server.inject_always(step, Fault::Delay(Duration::from_secs(50)));
        backend(&server).create(spec().1).await.unwrap_err();
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(server.object_names(), [""; 0], "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_detached_sandbox_is_accessible_to_other_clients() {
    for (timeout, accessible) in [(None, true), (Some(Lifetime::DEFAULT_ATTACH), false)] {
        let server = server();
        let (id, spec) = spec_with(|lifetime| lifetime.attach_timeout = timeout);
        let creator = backend(&server);
        creator.create(spec).await.unwrap();
        let access_of_creator = creator.access(&id).await.unwrap();
        match backend(&server).access(&id).await {
            Ok(access) => {
                assert!(accessible);
                assert_eq!(
                    (access.host_key, access.uid),
                    (access_of_creator.host_key, access_of_creator.uid)
                );
            }
            Err(error) => assert!(
                !accessible && matches!(error, Error::Unsupported { .. }),
                "{error}"
            ),
        }
    }
}
