//! How sandboxes end that nobody deletes.

use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use sandbox::{SandboxBackend, SandboxEventKind, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::PodOptions;

use crate::cluster::{connect, image, managed_objects, options, spec_with_image};
use crate::deploy_manifests::{self, CLIENT, GC};
use crate::skewed_clock_client::skew_clock;

cases![what_nobody_uses_ends, what_never_ran_is_collected];

/// A kubelet tells of an end within its second, or its ten.
const SOON: Duration = Duration::from_secs(60);

async fn what_nobody_uses_ends(backend: TestedBackend) -> Outcome {
    let sbx = backend
        .new_client()
        .sandbox()
        .detached()
        .idle_timeout(Duration::from_secs(4))
        .create()
        .await?;
    let mut events = sbx.events().await?;
    // A command is use.
    sbx.command("sleep").arg("6").output().await?.check()?;
    let ended = async {
        while let Some(event) = events.next().await {
            let event = event?;
            if event.kind == SandboxEventKind::Failed {
                return Ok(event.message);
            }
        }
        Err("its events ended first".into())
    };
    let told: Outcome<String> = tokio::time::timeout(SOON, ended).await?;
    sbx.delete().await?;
    assert!(told?.contains("at the end of a lifetime"));
    Ok(())
}

/// It waits for a machine that there is none of, and its maker does not come back.
async fn what_never_ran_is_collected(_: TestedBackend) -> Outcome {
    // With the restricted standard enforced, where the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| {
        collected(&api, &namespace).await
    })
    .await
}

async fn collected(api: &kube::Client, namespace: &str) -> Outcome {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, CLIENT).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let maker = KubernetesBackend::new(connect(Some(&kubeconfig), None).await?, options.clone());
    let mut spec = spec_with_image(&image());
    spec.lifetime.ttl = Some(Duration::from_secs(600));
    let nowhere = PodOptions::new()
        .node_selector("sandbox.example/no-such", "node")
        .to_value()?;
    spec.backend_options.set("k8s", nowhere);
    let id = maker.create(spec).await?.id;
    drop(maker);
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    assert!(
        pods.get(id.as_str())
            .await?
            .spec
            .is_some_and(|spec| spec.node_name.is_none())
    );

    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, GC).await?;
    let gc = connect(Some(&kubeconfig), None).await?;
    let now = KubernetesBackend::new(gc.clone(), options.clone());
    assert!(
        now.sweep(SweepOptions::default()).await?.removed.is_empty(),
        "its time is not over"
    );
    let report = KubernetesBackend::new(skew_clock(gc, Duration::from_secs(700)), options);
    let report = report.sweep(SweepOptions::default()).await?;
    let told: Vec<_> = report
        .removed
        .iter()
        .map(|swept| (&swept.id, swept.reason.as_str()))
        .collect();
    assert_eq!(told, [(&id, "its time is over, and it never ran")]);
    let gone = async {
        while !managed_objects(api, namespace).await?.is_empty() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        Outcome::Ok(())
    };
    tokio::time::timeout(SOON, gone).await??;
    Ok(())
}
