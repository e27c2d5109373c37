//! Creations that fail or are dropped: what is told of them, and that nothing stays.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox::{
    CreationReason, DeleteOptions, Error, Freshness, SandboxBackend, SandboxId, SandboxSpec,
};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy};

use crate::cluster::{admin_backend, image, options, spec_with_image};

cases![
    a_dropped_creation_leaves_nothing,
    a_missing_image_is_told,
    no_room_is_told,
    a_missing_namespace_is_told
];

async fn a_dropped_creation_leaves_nothing(_: TestedBackend) -> Outcome {
    let backend = admin_backend(options()).await?;
    let dropped =
        [0, 1, 5, 20, 60].map(|patience| dropped_after(&backend, Duration::from_millis(patience)));
    futures_util::future::try_join_all(dropped).await?;
    Ok(())
}

async fn dropped_after(backend: &impl SandboxBackend, patience: Duration) -> Outcome {
    let id = SandboxId::generate()?;
    let mut spec = spec_with_image(&image());
    spec.id = Some(id.clone());
    if tokio::time::timeout(patience, backend.create(spec))
        .await
        .is_ok()
    {
        return backend
            .delete(&id, DeleteOptions::default())
            .await
            .map_err(Into::into);
    }
    // It may be sent still; then it is undone.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..200 {
        match backend.get(&id, Freshness::Latest).await {
            Err(Error::NotFound { .. }) => return Ok(()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    Err(format!(
        "after {patience:?}: {:?}",
        backend.get(&id, Freshness::Latest).await
    )
    .into())
}

/// Creates what cannot come to be, and returns how that is told.
async fn failure(spec: SandboxSpec, options: KubernetesOptions) -> sandbox::Result<String> {
    let backend = admin_backend(options).await?;
    let info = backend.create(spec).await?;
    let mut events = backend.events(&info.id).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let diagnosis = backend.diagnose(&info.id).await?;
    let mut unwaited = DeleteOptions::default();
    unwaited.wait = false;
    backend.delete(&info.id, unwaited).await?;
    let last = last.expect("an event");
    assert!(last.kind.is_final(), "{last:?}");
    Ok(format!("{} | {}", last.message, diagnosis.summary))
}

async fn a_missing_image_is_told(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.image_pull_policy = Some(PullPolicy::Never);
    let told = failure(spec_with_image("localhost/no-such-image:1"), options).await?;
    assert!(told.contains("no-such-image"), "{told}");
    Ok(())
}

async fn no_room_is_told(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.startup_grace = Duration::from_secs(1);
    let mut spec = spec_with_image(&image());
    spec.resources.memory = Some("100Ti".parse()?);
    let told = failure(spec, options).await?;
    assert!(told.contains("Insufficient memory"), "{told}");
    Ok(())
}

async fn a_missing_namespace_is_told(_: TestedBackend) -> Outcome {
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
