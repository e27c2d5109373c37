//! Creations that fail or are cancelled: their errors, and that no object is left.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox::{
    CreationReason, DeleteOptions, Error, Freshness, SandboxBackend, SandboxId, SandboxSpec,
};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy};

use crate::cluster::{admin_backend, image, options, spec_with_image};

cases![
    a_cancelled_creation_leaves_nothing,
    a_missing_image_is_reported,
    insufficient_memory_is_reported,
    a_missing_namespace_is_reported
];

async fn a_cancelled_creation_leaves_nothing(_: TestedBackend) -> Outcome {
    let backend = admin_backend(options()).await?;
    let cancelled = [0, 1, 5, 20, 60]
        .map(|millis| cancel_creation_after(&backend, Duration::from_millis(millis)));
    futures_util::future::try_join_all(cancelled).await?;
    Ok(())
}

async fn cancel_creation_after(backend: &impl SandboxBackend, timeout: Duration) -> Outcome {
    let id = SandboxId::generate()?;
    let mut spec = spec_with_image(&image());
    spec.id = Some(id.clone());
    if tokio::time::timeout(timeout, backend.create(spec))
        .await
        .is_ok()
    {
        return backend
            .delete(&id, DeleteOptions::default())
            .await
            .map_err(Into::into);
    }
    // The request may be on its way; then the backend deletes the object. An old kubelet on a busy node
    // takes more than 20 s to report the end of a deleted Pod.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..600 {
        match backend.get(&id, Freshness::Latest).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(format!(
        "after {timeout:?}: {:?}",
        backend.get(&id, Freshness::Latest).await
    )
    .into())
}

/// Creates a sandbox that cannot start, and returns the last event and the diagnosis.
async fn creation_failure(
    spec: SandboxSpec,
    options: KubernetesOptions,
) -> sandbox::Result<String> {
    let backend = admin_backend(options).await?;
    let info = backend.create(spec).await?;
    let mut events = backend.events(&info.id).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let diagnosis = backend.diagnose(&info.id).await?;
    let mut without_waiting = DeleteOptions::default();
    without_waiting.wait = false;
    backend.delete(&info.id, without_waiting).await?;
    let last = last.expect("an event");
    assert!(last.kind.is_final(), "{last:?}");
    Ok(format!("{} | {}", last.message, diagnosis.summary))
}

async fn a_missing_image_is_reported(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.image_pull_policy = Some(PullPolicy::Never);
    let message = creation_failure(spec_with_image("localhost/no-such-image:1"), options).await?;
    assert!(message.contains("no-such-image"), "{message}");
    Ok(())
}

async fn insufficient_memory_is_reported(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.startup_grace = Duration::from_secs(1);
    let mut spec = spec_with_image(&image());
    spec.resources.memory = Some("100Ti".parse()?);
    let message = creation_failure(spec, options).await?;
    assert!(message.contains("Insufficient memory"), "{message}");
    Ok(())
}

async fn a_missing_namespace_is_reported(_: TestedBackend) -> Outcome {
    let mut elsewhere = options();
    elsewhere.namespace = Some("no-such-namespace".into());
    let error = admin_backend(elsewhere)
        .await?
        .create(spec_with_image(&image()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-namespace"), "{error}");
    if let Error::Creation(creation) = error {
        assert_eq!(creation.reason, CreationReason::Rejected);
    }
    Ok(())
}
