//! Creations that fail: what the error says, and the deletion of what was created.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use sandbox::prelude::*;
use sandbox::{
    ConnectionStage, CreationReason, CreationStage, Diagnosis, ExecRequest, SandboxEventKind,
    SandboxSpec,
};
use sandbox_core::{MockSandboxBackend, MockSession, MockSessionSource};

use crate::support::{SlowSessions, access, backend, base_backend, client, event, info, sessions};

#[tokio::test]
async fn a_failed_setup_deletes_the_sandbox_and_names_the_failure() {
    let mut session = MockSession::new();
    session
        .expect_output()
        .returning(|_, _| Ok(Output::new(ExitStatus::Code(2), "", "no network\n")));
    let client = client(backend(1, vec![]), sessions(session));
    let error = client
        .sandbox()
        .init(ExecRequest::from_shell("pip install x"))
        .create()
        .await
        .unwrap_err();
    let Error::Creation(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Personalise, CreationReason::Setup)
    );
    assert!(error.message.contains("exit code 2: no network"), "{error}");
}

#[tokio::test]
async fn a_final_event_ends_the_wait_for_a_session() {
    let mut backend = backend(1, vec![event(SandboxEventKind::Failed, "image not found")]);
    backend
        .expect_diagnose()
        .returning(|_| Ok(Diagnosis::default()));
    let mut sessions = MockSessionSource::new();
    sessions.expect_evict().returning(|_| ());
    sessions.expect_session().returning(|_, _| {
        Err(Error::Timeout {
            operation: "dial",
            after: Duration::ZERO,
        })
    });
    let error = client(backend, sessions)
        .sandbox()
        .create()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Creation(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_failed_creation_has_the_diagnosis_of_the_backend() {
    use SandboxEventKind::{Created, Failed, Started, Warning};
    let refused = || Error::connection(ConnectionStage::Dial, "nothing listens on port 2222", None);
    let timed_out = || Error::Timeout {
        operation: "connect",
        after: Duration::from_secs(9),
    };
    type Case = (
        Vec<SandboxEventKind>,
        fn() -> Error,
        (&'static str, Option<CreationReason>),
        (CreationStage, CreationReason, &'static str),
    );
    let pull = Some(CreationReason::ImagePull);
    let none = None;
    let provision = CreationStage::Provision;
    let connect = CreationStage::Connect;
    let table: Vec<Case> = vec![
        (
            vec![Created, Failed],
            timed_out,
            ("not found", pull),
            (provision, CreationReason::ImagePull, "not found"),
        ),
        (
            vec![Created, Failed],
            timed_out,
            ("", none),
            (provision, CreationReason::Other, "reported"),
        ),
        (
            vec![Created, Failed],
            timed_out,
            ("it is started", none),
            (provision, CreationReason::Other, "reported"),
        ),
        (
            vec![Created, Started, Failed],
            refused,
            ("", none),
            (connect, CreationReason::Crashed, "reported"),
        ),
        (
            vec![Created, Started, Failed],
            refused,
            ("exit code 1", Some(CreationReason::Crashed)),
            (connect, CreationReason::Crashed, "exit code 1"),
        ),
        (
            vec![Created, Warning],
            timed_out,
            ("no room", Some(CreationReason::Unschedulable)),
            (
                provision,
                CreationReason::Unschedulable,
                "not ready in time: no room",
            ),
        ),
        // Only a creation that has no time left was not ready in time.
        (
            vec![Created],
            refused,
            ("its Pod is being deleted", none),
            (provision, CreationReason::Other, "its Pod is being deleted"),
        ),
        // A diagnosis may not find the cause again that the backend has reported.
        (
            vec![Created, Warning],
            timed_out,
            ("its container is being started", none),
            (
                provision,
                CreationReason::Other,
                "not ready in time: reported",
            ),
        ),
        (
            vec![Created, Started],
            refused,
            ("nothing listens on port 2222", none),
            (
                connect,
                CreationReason::Unreachable,
                "nothing listens on port 2222",
            ),
        ),
        (
            vec![Created, Started],
            refused,
            ("it runs", none),
            (
                connect,
                CreationReason::Unreachable,
                "SSH does not answer: nothing listens on port 2222 (it runs)",
            ),
        ),
        (
            vec![Created, Started],
            timed_out,
            ("", none),
            (
                connect,
                CreationReason::Unreachable,
                "SSH did not answer within 9s",
            ),
        ),
    ];
    for (events, error, (summary, reason), expected) in table {
        let reported: Vec<_> = events.iter().map(|kind| event(*kind, "reported")).collect();
        let mut backend = backend(1, reported.clone());
        backend.expect_diagnose().returning(move |_| {
            let mut diagnosis = Diagnosis::default();
            (diagnosis.summary, diagnosis.reason) = (summary.into(), reason);
            diagnosis.events = vec![
                event(Warning, "from the cluster"),
                event(Warning, "from the cluster"),
            ];
            Ok(diagnosis)
        });
        let mut sessions = MockSessionSource::new();
        sessions.expect_evict().returning(|_| ());
        sessions
            .expect_session()
            .returning(move |_, _| Err(error()));
        // The session fails only after all events were read.
        let sessions = SlowSessions::new(sessions).session_delay(Duration::from_millis(20));
        let error = client(backend, sessions)
            .sandbox()
            .create()
            .await
            .unwrap_err();
        let Error::Creation(error) = error else {
            panic!("{error}")
        };
        assert_eq!(
            (error.stage, error.reason, error.message.as_str()),
            expected
        );
        let added = error
            .events
            .iter()
            .filter(|event| event.message == "from the cluster")
            .count();
        assert_eq!(
            (error.events.len(), added),
            (events.len() + 1, 1),
            "{:?}",
            error.events
        );
    }
}

/// If the backend has a fallback, the creation is retried once the failed sandbox is deleted,
/// however long that takes.
#[tokio::test(start_paused = true)]
async fn a_creation_is_retried_once_with_the_fallback_of_the_backend() {
    use SandboxEventKind::{Created, Failed};
    for (always_fails, succeeds) in [(false, true), (true, false)] {
        let mut backend = MockSandboxBackend::new();
        backend.expect_name().return_const("mock");
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        backend
            .expect_create()
            .times(2)
            .returning(move |spec: SandboxSpec| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(info(&spec.id.unwrap()))
            });
        backend.expect_access().returning(|id| Ok(access(id)));
        backend.expect_get().returning(|id, _| Ok(info(id)));
        let started = attempts.clone();
        backend.expect_events().returning(move |_| {
            let fails = always_fails || started.load(Ordering::Relaxed) == 1;
            let mut events = vec![Ok(event(Created, ""))];
            events.extend(fails.then(|| Ok(event(Failed, "the volume is empty"))));
            Ok(Box::pin(stream::iter(events)))
        });
        backend.expect_diagnose().returning(|_| {
            let mut diagnosis = Diagnosis::default();
            (diagnosis.summary, diagnosis.has_fallback) = ("the volume is empty".into(), true);
            Ok(diagnosis)
        });
        backend.expect_delete().returning(|_, _| Ok(()));
        // A deletion takes half a minute, like that of a Pod whose node is busy.
        let sessions = SlowSessions::new(sessions(MockSession::new()))
            .session_delay(Duration::from_millis(20))
            .evict_delay(Duration::from_secs(30));
        let created = client(backend, sessions).sandbox().create().await;
        assert_eq!(
            (created.is_ok(), attempts.load(Ordering::Relaxed)),
            (succeeds, 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_times_out_is_a_failed_creation() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend.expect_create().returning(|_| {
        Err(Error::Timeout {
            operation: "create a Pod",
            after: Duration::from_secs(9),
        })
    });
    let client = client(backend, MockSessionSource::new());
    let error = client.sandbox().id("sbx-a").create().await.unwrap_err();
    assert!(
        error.is_retryable() && error.sandbox_id().is_some_and(|id| id.as_str() == "sbx-a"),
        "{error}"
    );
    let Error::Creation(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Provision, CreationReason::Timeout)
    );
    assert!(error.message.contains("create a Pod"), "{}", error.message);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_creation_deletes_the_sandbox() {
    let deleted = Arc::new(tokio::sync::Notify::new());
    let mut backend = base_backend();
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::pending())));
    let signal = deleted.clone();
    backend.expect_delete().times(1).returning(move |_, _| {
        signal.notify_one();
        Ok(())
    });
    let sessions =
        SlowSessions::new(sessions(MockSession::new())).session_delay(Duration::from_secs(3600));
    let client = client(backend, sessions);
    let create = client.sandbox().create();
    assert!(
        tokio::time::timeout(Duration::from_secs(1), create)
            .await
            .is_err()
    );
    deleted.notified().await;
}
