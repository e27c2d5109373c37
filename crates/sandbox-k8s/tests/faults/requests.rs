//! The number of requests that the backend sends.

use std::time::Duration;

use sandbox_core::{DeleteOptions, Freshness, ListFilter, SandboxBackend, SandboxEventKind};
use sandbox_testkit::apiserver::Fault;
use tokio::time::Instant;

use crate::support::{
    backend, create_sandbox, object_names_of, observe_steps_until, server, spec, start_watch,
};

#[tokio::test(start_paused = true)]
async fn a_sandbox_takes_four_writes_and_no_read() {
    let server = server();
    let backend = backend(&server);
    let (id, spec) = spec();
    let info = backend.create(spec).await.unwrap();
    assert_eq!((&info.id, info.port), (&id, Some(2222)));
    assert_eq!(server.object_names(), object_names_of(&server, &id));
    server.run_pod(id.as_str());
    let steps = observe_steps_until(&backend, &id, SandboxEventKind::Addressed).await;
    assert_eq!(steps.first(), Some(&SandboxEventKind::Created));
    for _ in 0..100 {
        assert_eq!(
            backend.get(&id, Freshness::Cached).await.unwrap().uid,
            info.uid
        );
        backend.access(&id).await.unwrap();
        assert_eq!(backend.list(ListFilter::default()).await.unwrap().len(), 1);
    }
    backend.delete(&id, DeleteOptions::default()).await.unwrap();
    // This is long enough for every periodic task to run.
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(server.object_names(), [""; 0]);
    let seen: Vec<_> = server.requests().iter().map(ToString::to_string).collect();
    assert_eq!(
        (server.count_writes(), server.count_reads()),
        (4, 0),
        "{seen:#?}"
    );
    assert_eq!(
        (
            server.count_requests("list pods"),
            server.count_requests("watch pods")
        ),
        (1, 1),
        "{seen:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hundred_concurrent_sandboxes_share_one_watch() {
    let server = server();
    let backend = backend(&server);
    let created = futures_util::future::join_all((0..100).map(|_| create_sandbox(&backend))).await;
    for info in &created {
        server.run_pod(info.id.as_str());
    }
    let until = |info: &sandbox_core::SandboxInfo| {
        let (backend, id) = (backend.clone(), info.id.clone());
        async move { observe_steps_until(&backend, &id, SandboxEventKind::Addressed).await }
    };
    futures_util::future::join_all(created.iter().map(until)).await;
    let deletions = created
        .iter()
        .map(|info| backend.delete(&info.id, DeleteOptions::default()));
    assert!(
        futures_util::future::join_all(deletions)
            .await
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(server.object_names(), [""; 0]);
    assert_eq!(
        (
            server.count_writes(),
            server.count_reads(),
            server.count_requests("watch pods")
        ),
        (400, 0, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn own_writes_are_visible_at_once_even_if_the_watch_is_late() {
    let server = server();
    server.inject_always("watch pods", Fault::DelayEvents(Duration::from_secs(3600)));
    let backend = backend(&server);
    start_watch(&server, &backend).await;
    server.clear_requests();
    let info = create_sandbox(&backend).await;
    assert_eq!(
        backend.get(&info.id, Freshness::Cached).await.unwrap().uid,
        info.uid
    );
    assert_eq!(backend.list(ListFilter::default()).await.unwrap().len(), 1);
    let extended = backend
        .extend(&info.id, Duration::from_secs(1200))
        .await
        .unwrap();
    assert!(extended.expires_at > info.expires_at);
    assert_eq!(
        backend
            .get(&info.id, Freshness::Cached)
            .await
            .unwrap()
            .expires_at,
        extended.expires_at
    );
    assert_eq!(server.count_reads(), 1, "the read before the patch");
    backend
        .delete(&info.id, DeleteOptions::default())
        .await
        .unwrap();
    assert!(backend.get(&info.id, Freshness::Cached).await.is_err());
    assert!(
        backend
            .list(ListFilter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_respected_up_to_a_bound() {
    for (asked, waited) in [(3, 3), (100_000, 10)] {
        let server = server();
        server.inject("create pods", Fault::too_many_requests(asked));
        let backend = backend(&server);
        let began = Instant::now();
        create_sandbox(&backend).await;
        assert_eq!(began.elapsed().as_secs(), waited, "{asked}");
    }
}
