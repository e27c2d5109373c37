//! The soft and the hard end of sandboxes, and the keys that outlive a client.

use std::time::Duration;

use sandbox_core::{Error, SandboxBackend};

use crate::support::{backend, create_sandbox, pod, secret_name, server, spec_with};

#[tokio::test(start_paused = true)]
async fn kubernetes_enforces_the_hard_end_and_the_soft_end_can_be_extended() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    assert_eq!(
        pod(&server, &info.id)["spec"]["activeDeadlineSeconds"],
        3600
    );
    assert_eq!(
        pod(&server, &info.id)["metadata"]["annotations"]["sandbox.dev/ends-after"],
        "600"
    );
    let end = |info: &sandbox_core::SandboxInfo| {
        info.expires_at
            .unwrap()
            .duration_since(info.created_at)
            .unwrap()
            .as_secs()
    };
    assert_eq!(end(&info), 600);
    tokio::time::sleep(Duration::from_secs(100)).await;
    for (ttl, expected) in [
        (1000, 1100..=1101),
        (10, 1100..=1101),
        (1_000_000, 3600..=3600),
    ] {
        let extended = backend
            .extend(&info.id, Duration::from_secs(ttl))
            .await
            .unwrap();
        assert!(
            expected.contains(&end(&extended)),
            "{ttl}: {}",
            end(&extended)
        );
    }
    server.end_pod(info.id.as_str(), 0, "Completed");
    let over = backend.extend(&info.id, Duration::from_secs(10)).await;
    assert!(matches!(over, Err(Error::NotFound { .. })), "{over:?}");
}

#[tokio::test(start_paused = true)]
async fn only_a_detached_sandbox_stores_its_client_key() {
    for detached in [true, false] {
        let server = server();
        let (id, spec) = spec_with(|lifetime| {
            lifetime.attach_timeout = lifetime.attach_timeout.filter(|_| !detached)
        });
        backend(&server).create(spec).await.unwrap();
        let secret = server
            .object("secrets", &secret_name(&server, &id))
            .unwrap();
        assert_eq!(secret["data"].get("client-key").is_some(), detached);
        assert!(secret["metadata"].get("ownerReferences").is_none());
    }
}
