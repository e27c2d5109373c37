//! Labels, annotations and ttl of a sandbox that exists.

use std::time::Duration;

use sandbox_core::{Assignment, Error, ListFilter, MAX_ANNOTATIONS, SandboxBackend, Uid};
use sandbox_testkit::apiserver::Fault;

use crate::support::{backend, create_running, pod, server, without_waiting};

fn assignment() -> Assignment {
    let mut assignment = Assignment::default();
    assignment.labels.insert("team".into(), "ml".into());
    assignment
        .annotations
        .insert("gateway/owner".into(), "a b".into());
    assignment.ttl = Some(Duration::from_secs(60));
    assignment
}

#[tokio::test(start_paused = true)]
async fn everything_is_written_in_one_patch() {
    let server = server();
    let info = create_running(&server).await;
    let backend = backend(&server);
    let assigned = backend
        .assign(&info.id, &info.uid, assignment())
        .await
        .unwrap();
    assert_eq!(server.count_requests("patch pods"), 1);
    assert_eq!(assigned.labels["team"], "ml");
    assert_eq!(assigned.annotations["gateway/owner"], "a b");
    // The ttl may end earlier than the sandbox would have ended.
    assert!(assigned.expires_at < info.expires_at);
    assert_eq!(pod(&server, &info.id)["metadata"]["labels"]["team"], "ml");
    let filter = ListFilter::from_labels([("team".into(), "ml".into())]);
    assert_eq!(backend.list(filter).await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_instance_gets_nothing() {
    let server = server();
    let info = create_running(&server).await;
    let backend = backend(&server);
    let mut labels_only = assignment();
    labels_only.ttl = None;
    for assignment in [assignment(), labels_only] {
        let other = Uid::new("another");
        let result = backend.assign(&info.id, &other, assignment).await;
        assert!(matches!(result, Err(Error::NotFound { .. })), "{result:?}");
    }
    assert!(pod(&server, &info.id)["metadata"]["labels"]["team"].is_null());
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_deleted_meanwhile_is_not_found() {
    let server = server();
    let info = create_running(&server).await;
    let backend = backend(&server);
    server.inject("patch pods", Fault::Delay(Duration::from_millis(500)));
    let assigning = backend.assign(&info.id, &info.uid, assignment());
    let deleting = async {
        server.wait_for_requests("patch pods", 1).await;
        crate::support::backend(&server)
            .delete(&info.id, without_waiting())
            .await
            .unwrap();
    };
    let (assigned, ()) = tokio::join!(assigning, deleting);
    assert!(
        matches!(assigned, Err(Error::NotFound { .. })),
        "{assigned:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn annotations_are_limited_with_those_that_the_sandbox_has() {
    let server = server();
    let info = create_running(&server).await;
    let backend = backend(&server);
    let annotate = |key: &str| {
        let mut assignment = Assignment::default();
        let value = "x".repeat(MAX_ANNOTATIONS / 2);
        assignment.annotations.insert(key.into(), value);
        backend.assign(&info.id, &info.uid, assignment)
    };
    annotate("a").await.unwrap();
    // The same key is replaced.
    annotate("a").await.unwrap();
    let error = annotate("b").await.unwrap_err();
    assert!(error.to_string().contains("65538 bytes"), "{error}");
}
