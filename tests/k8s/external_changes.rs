//! What somebody else does to a sandbox's Pod.

use std::error::Error as _;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::DeleteParams;
use sandbox::{CommandCause, Error, ExecEvent, SandboxId};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::internals::labels::secret_name;

use crate::cluster::{api, namespace};

cases![
    a_pod_that_was_deleted_ends_all_its_commands,
    a_pod_under_the_same_name_is_another
];

async fn a_pod_that_was_deleted_ends_all_its_commands(backend: TestedBackend) -> Outcome {
    let sbx = backend.sandbox().create().await?;
    let collected = tokio::spawn(sbx.shell("echo > begun; exec sleep 1000").output());
    let mut streamed = sbx.shell("echo begun; sleep 1000").spawn().await?;
    let begun = streamed.next().await;
    assert!(matches!(begun, Some(Ok(ExecEvent::Stdout(_)))), "{begun:?}");
    while !sbx.files().exists("begun").await? {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    delete_pod(sbx.id()).await?;
    let collected = collected
        .await?
        .expect_err("the command cannot have ended well");
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
    let why = collected.source().expect("an explanation").to_string();
    let said = [sbx.id().as_str(), "gone", "being deleted"];
    assert!(said.iter().any(|words| why.contains(words)), "{why}");
    let streamed = streamed
        .wait()
        .await
        .expect_err("the command cannot have ended well");
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
    // Its keys are still there: the Pod was theirs, and not the other way round.
    sbx.delete().await?;
    assert!(
        secrets()
            .await?
            .get_opt(&secret_name(sbx.id()))
            .await?
            .is_none()
    );
    Ok(())
}

async fn a_pod_under_the_same_name_is_another(backend: TestedBackend) -> Outcome {
    let former = backend.sandbox().create().await?;
    former.command("true").output().await?.check()?;
    delete_pod(former.id()).await?;
    secrets()
        .await?
        .delete(&secret_name(former.id()), &DeleteParams::default())
        .await?;

    let latter = backend
        .new_client()
        .sandbox()
        .id(former.id().as_str())
        .create()
        .await?;
    assert_ne!(former.uid(), latter.uid());
    let reached = former.command("true").output().await;
    assert!(
        reached.is_err(),
        "the former handle reaches the latter sandbox: {reached:?}"
    );
    former.delete().await?;
    latter.command("true").output().await?.check()?;
    latter.delete().await?;
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

async fn secrets() -> Outcome<Api<Secret>> {
    Ok(Api::namespaced(api().await?, namespace()))
}
