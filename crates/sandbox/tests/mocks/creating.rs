//! Creating a sandbox: what is refused before, and the wait for its server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{ConnectionStage, Diagnosis, SandboxSpec};
use sandbox_core::{MockSandboxBackend, MockSession, MockSessionSource};

use crate::support::{backend, base_backend, client, sessions};

/// A former sandbox may still answer at the name or address of a new one.
#[tokio::test(start_paused = true)]
async fn a_foreign_host_key_is_retried_until_the_deadline_and_never_accepted() {
    for (foreign_answers, succeeds) in [(3, true), (usize::MAX, false)] {
        let mut backend = backend(usize::from(!succeeds), vec![]);
        backend
            .expect_diagnose()
            .returning(|_| Ok(Diagnosis::default()));
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let mut sessions = MockSessionSource::new();
        sessions.expect_evict().returning(|_| ());
        sessions.expect_session().returning(move |_, _| {
            if counted.fetch_add(1, Ordering::Relaxed) < foreign_answers {
                let message = "the server at its address has another host key";
                return Err(Error::connection(ConnectionStage::HostKey, message, None));
            }
            Ok(Arc::new(MockSession::new()))
        });
        let created = client(backend, sessions)
            .sandbox()
            .create_timeout(Duration::from_secs(30))
            .create()
            .await;
        match created {
            Ok(_) => assert!(succeeds && asked.load(Ordering::Relaxed) == 4),
            Err(error) => assert!(
                !succeeds && error.to_string().contains("another host key"),
                "{error}"
            ),
        }
        assert!(asked.load(Ordering::Relaxed) < 100, "it pauses");
    }
}

/// Without it, a creator that is killed leaves a detached sandbox until its hard end.
#[tokio::test]
async fn a_sandbox_waits_for_its_first_client_as_long_as_its_creation() {
    for (create_timeout, expected) in [(1, 60), (300, 300), (1_000_000, 86_400)] {
        let create_timeout = Duration::from_secs(create_timeout);
        let mut backend = MockSandboxBackend::new();
        backend.expect_name().return_const("mock");
        backend.expect_create().returning(move |spec: SandboxSpec| {
            let timeout = spec.lifetime.first_login_timeout;
            assert_eq!(timeout, Some(Duration::from_secs(expected)));
            Err(Error::AlreadyExists {
                id: spec.id.unwrap(),
            })
        });
        let client = client(backend, MockSessionSource::new());
        let builder = client.sandbox().create_timeout(create_timeout).detached();
        let error = builder.create().await.unwrap_err();
        assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
    }
}

#[tokio::test]
async fn options_of_another_backend_are_refused() {
    let client = client(backend(0, vec![]), MockSessionSource::new());
    let error = client
        .sandbox()
        .backend_options("k8s", "anything".into())
        .create()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unsupported { .. }) && error.to_string().contains("k8s backend"),
        "{error}"
    );
}

#[tokio::test]
async fn mistakes_are_reported_before_anything_is_created() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    let client = client(backend, MockSessionSource::new());
    for (builder, named) in [
        (client.sandbox().memory("much"), "much"),
        (client.sandbox().id("No!"), "No!"),
        (client.sandbox().env("A=B", "x"), "A=B"),
        (
            client.sandbox().label("sandbox.dev/x", "y"),
            "sandbox.dev/x",
        ),
        (client.sandbox().ttl(Duration::ZERO), "ttl"),
    ] {
        let error = builder.create().await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_backend_without_namespaces_refuses_others() {
    let client = client(base_backend(), sessions(MockSession::new()));
    let refused = client.in_namespace("team-a").unwrap_err();
    assert!(
        refused.to_string().contains("the namespace team-a"),
        "{refused}"
    );
}
