//! Changes to a sandbox's Pod by another client of the cluster.

use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use sandbox::{CommandCause, Error, ExecEvent, SandboxId};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::internals::labels::selector_of;

use crate::cluster::{api, namespace};

cases![
    deleting_a_pod_ends_its_commands_as_lost,
    a_new_pod_of_the_same_name_is_another_sandbox
];

async fn deleting_a_pod_ends_its_commands_as_lost(backend: TestedBackend) -> Outcome {
    let sbx = backend.sandbox().create().await?;
    let collected = tokio::spawn(sbx.shell("echo > started; exec sleep 1000").output());
    let mut streamed = sbx.shell("echo started; sleep 1000").spawn().await?;
    let started = streamed.next().await;
    assert!(
        matches!(started, Some(Ok(ExecEvent::Stdout(_)))),
        "{started:?}"
    );
    while !sbx.files().exists("started").await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    delete_pod(sbx.id()).await?;
    let collected = collected
        .await?
        .expect_err("the command cannot have succeeded");
    assert!(
        matches!(
            collected,
            Error::Command {
                cause: CommandCause::Lost,
                ..
            }
        ),
        "{collected:?}"
    );
    let diagnosis = collected.source().expect("a diagnosis").to_string();
    let texts = [sbx.id().as_str(), "no longer exists", "being deleted"];
    assert!(
        texts.iter().any(|text| diagnosis.contains(text)),
        "{diagnosis}"
    );
    let streamed = streamed
        .wait()
        .await
        .expect_err("the command cannot have succeeded");
    assert!(
        matches!(
            streamed,
            Error::Command {
                cause: CommandCause::Lost,
                ..
            }
        ),
        "{streamed:?}"
    );
    assert!(sbx.command("true").output().await.is_err());
    assert!(matches!(
        backend.get_sandbox_info(sbx.id()).await,
        Err(Error::NotFound { .. })
    ));
    // The Secret still exists, because it owns the Pod and not the other way round.
    sbx.delete().await?;
    assert_eq!(count_secrets(sbx.id()).await?, 0);
    Ok(())
}

async fn a_new_pod_of_the_same_name_is_another_sandbox(backend: TestedBackend) -> Outcome {
    let old = backend.sandbox().create().await?;
    old.command("true").output().await?.check()?;
    delete_pod(old.id()).await?;
    // Its Secret still exists, and does not keep the id from being used again at once.
    assert_eq!(count_secrets(old.id()).await?, 1);
    let new = backend
        .new_client()
        .sandbox()
        .id(old.id().as_str())
        .create()
        .await?;
    assert_ne!(old.uid(), new.uid());
    let reached = old.command("true").output().await;
    assert!(
        reached.is_err(),
        "the old handle reaches the new sandbox: {reached:?}"
    );
    old.delete().await?;
    new.command("true").output().await?.check()?;
    new.delete().await?;
    Ok(())
}

async fn delete_pod(id: &SandboxId) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(api().await?, namespace());
    pods.delete(id.as_str(), &DeleteParams::default().grace_period(0))
        .await?;
    while pods.get_opt(id.as_str()).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn count_secrets(id: &SandboxId) -> Outcome<usize> {
    let secrets: Api<Secret> = Api::namespaced(api().await?, namespace());
    let of_sandbox = ListParams::default().labels(&selector_of(id));
    Ok(secrets.list_metadata(&of_sandbox).await?.items.len())
}
