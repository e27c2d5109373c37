//! Sandboxes that end without being deleted.

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use sandbox::{SandboxBackend, SandboxEvent, SandboxEventKind, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::PodOptions;

use crate::cluster::{connect, image, managed_objects, options, spec_with_image};
use crate::deploy_manifests::{self, CLIENT, GC};
use crate::skewed_clock_client::skew_clock;

cases![an_idle_sandbox_ends, a_sandbox_that_never_ran_is_swept];

/// A kubelet reports an end within one second, or ten, or later if its node is busy.
const TIMEOUT: Duration = Duration::from_secs(120);

async fn an_idle_sandbox_ends(backend: TestedBackend) -> Outcome {
    let sbx = backend
        .new_client()
        .sandbox()
        .detached()
        // On a busy node some seconds pass before the first command.
        .idle_timeout(Duration::from_secs(20))
        .create()
        .await?;
    let mut events = sbx.events().await?;
    // While a command runs, the sandbox is not idle.
    sbx.command("sleep").arg("24").output().await?.check()?;
    let ended = async {
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind.is_final() {
                return Ok(event);
            }
        }
        Err("its events ended before".into())
    };
    let ended: Outcome<SandboxEvent> = tokio::time::timeout(TIMEOUT, ended).await?;
    sbx.delete().await?;
    let ended = ended?;
    assert_eq!(ended.kind, SandboxEventKind::Ended, "{ended:?}");
    assert!(ended.message.contains("was idle"), "{ended:?}");
    Ok(())
}

/// Its Pod waits for a node that does not exist, and its creator has ended.
async fn a_sandbox_that_never_ran_is_swept(_: TestedBackend) -> Outcome {
    // The namespace enforces the restricted standard, if the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| {
        sweep_unscheduled(&api, &namespace).await
    })
    .await
}

async fn sweep_unscheduled(api: &kube::Client, namespace: &str) -> Outcome {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, CLIENT).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let creator = KubernetesBackend::new(connect(Some(&kubeconfig), None).await?, options.clone());
    let mut spec = spec_with_image(&image());
    spec.lifetime.ttl = Some(Duration::from_secs(600));
    let unschedulable = PodOptions::new()
        .node_selector("sandbox.example/no-such", "node")
        .to_value()?;
    spec.backend_options.set("k8s", unschedulable);
    let id = creator.create(spec).await?.id;
    drop(creator);
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    assert!(
        pods.get(id.as_str())
            .await?
            .spec
            .is_some_and(|spec| spec.node_name.is_none())
    );

    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, GC).await?;
    let gc = connect(Some(&kubeconfig), None).await?;
    let backend = KubernetesBackend::new(gc.clone(), options.clone());
    assert!(
        backend
            .sweep(SweepOptions::default())
            .await?
            .removed
            .is_empty(),
        "its ttl has not passed"
    );
    let report = KubernetesBackend::new(skew_clock(gc, Duration::from_secs(700)), options);
    let report = report.sweep(SweepOptions::default()).await?;
    let removed: Vec<_> = report
        .removed
        .iter()
        .map(|swept| (&swept.id, swept.reason.as_str()))
        .collect();
    assert_eq!(
        removed,
        [(&id, "its soft end has passed, and it never ran")]
    );
    let deleted = async {
        while !managed_objects(api, namespace).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(TIMEOUT, deleted).await??;
    Ok(())
}
