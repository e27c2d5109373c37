//! Garbage collection as `deploy/` sets it up: the Pod of its CronJob, its account, its rights.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Endpoints, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams};
use sandbox::{SandboxBackend, SandboxId, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use serde_json::{Value, json};

use crate::cluster::{client_for, connect, defaults, managed_objects, options};
use crate::deploy_manifests::{self, CLIENT, GC};
use crate::skewed_clock_client::skew_clock;

cases![the_job_of_deploy_collects_what_is_over_and_keys_without_a_pod];

/// What `cargo xtask image --command` made.
const COMMAND: &str = "SANDBOX_TEST_COMMAND_IMAGE";
/// More than a Secret without a Pod is left alone for, and less than what is left lives.
const LATER: Duration = Duration::from_secs(660);
const PAUSE: Duration = Duration::from_millis(250);

async fn the_job_of_deploy_collects_what_is_over_and_keys_without_a_pod(
    _: TestedBackend,
) -> Outcome {
    // With the restricted standard enforced, where the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| {
        collected(&api, &namespace).await
    })
    .await
}

async fn collected(api: &kube::Client, namespace: &str) -> Outcome {
    let (stays, over) = left(api, namespace).await?;
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    let has_ended = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    while !has_ended(&pods.get(over.as_str()).await?) {
        tokio::time::sleep(PAUSE).await;
    }
    run(api, namespace).await?;
    // The collector is done when it has asked; a Pod goes when its kubelet says so.
    let objects = |id: &SandboxId| vec![format!("Pod {id}"), format!("Secret {id}-keys")];
    until(api, namespace, &objects(&stays)).await?;

    pods.delete(stays.as_str(), &DeleteParams::default().grace_period(0))
        .await?;
    let keys = [format!("Secret {stays}-keys")];
    until(api, namespace, &keys).await?;
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, GC).await?;
    let gc = connect(Some(&kubeconfig), None).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let now = KubernetesBackend::new(gc.clone(), options.clone());
    let report = now.sweep(SweepOptions::default()).await?;
    assert!(
        report.removed.is_empty(),
        "they may be those of one that is being made: {report:?}"
    );
    until(api, namespace, &keys).await?;
    let report = KubernetesBackend::new(skew_clock(gc, LATER), options)
        .sweep(SweepOptions::default())
        .await?;
    let removed: Vec<_> = report.removed.iter().map(|swept| &swept.id).collect();
    assert_eq!(removed, [&stays]);
    until(api, namespace, &[]).await
}

/// One that goes on, and one that ends by itself when nobody looks on any more.
async fn left(api: &kube::Client, namespace: &str) -> Outcome<(SandboxId, SandboxId)> {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, CLIENT).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let backend = KubernetesBackend::new(connect(Some(&kubeconfig), None).await?, options);
    let maker = client_for(backend, defaults());
    let stays = maker
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(3600))
        .create();
    let over = maker
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(5))
        .create();
    let (stays, over) = tokio::try_join!(stays, over)?;
    Ok((stays.id().clone(), over.id().clone()))
}

/// The CronJob's Job, now. Kubernetes 1.20 has no CronJob of this version, and its Jobs are the same.
async fn run(api: &kube::Client, namespace: &str) -> Outcome {
    let manifests = deploy_manifests::manifests(namespace)?;
    let cron = manifests
        .iter()
        .find(|document| document.contains("kind: CronJob"))
        .ok_or("no CronJob")?;
    let cron: Value = serde_saphyr::from_str(cron)?;
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "gc-now", "namespace": cron["metadata"]["namespace"]},
        "spec": cron["spec"]["jobTemplate"]["spec"],
    });
    let container = &mut job["spec"]["template"]["spec"]["containers"][0];
    let version = env!("CARGO_PKG_VERSION");
    container["image"] = std::env::var(COMMAND)
        .unwrap_or_else(|_| format!("localhost/sandbox-command:{version}"))
        .into();
    // A cluster may have no network of services; where the API server really is, it always knows.
    let env = container["env"]
        .as_array_mut()
        .ok_or("a container without variables")?;
    let (host, port) = address(api).await?;
    env.push(json!({"name": "KUBERNETES_SERVICE_HOST", "value": host}));
    env.push(json!({"name": "KUBERNETES_SERVICE_PORT", "value": port.to_string()}));

    let jobs: Api<Job> = Api::namespaced(api.clone(), namespace);
    jobs.create(&PostParams::default(), &serde_json::from_value(job)?)
        .await?;
    loop {
        let status = jobs.get("gc-now").await?.status.unwrap_or_default();
        match (status.succeeded, status.failed) {
            (Some(1..), _) => return Ok(()),
            (_, Some(1..)) => {
                return Err(format!("gc failed: {}", said(api, namespace).await?).into());
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn address(api: &kube::Client) -> Outcome<(String, i32)> {
    let endpoints: Api<Endpoints> = Api::namespaced(api.clone(), "default");
    let subsets = endpoints
        .get("kubernetes")
        .await?
        .subsets
        .ok_or("an API server without an address")?;
    let subset = subsets
        .into_iter()
        .next()
        .ok_or("an API server without an address")?;
    let address = subset
        .addresses
        .and_then(|all| all.into_iter().next())
        .ok_or("no address")?;
    let port = subset
        .ports
        .and_then(|all| all.into_iter().next())
        .ok_or("no port")?;
    Ok((address.ip, port.port))
}

async fn said(api: &kube::Client, namespace: &str) -> Outcome<String> {
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    let params = ListParams::default().labels("app.kubernetes.io/name=sandbox-gc");
    let pod = pods
        .list(&params)
        .await?
        .items
        .pop()
        .and_then(|pod| pod.metadata.name);
    Ok(pods
        .logs(&pod.ok_or("its Pod is gone")?, &LogParams::default())
        .await?)
}

/// Until exactly these are there.
async fn until(api: &kube::Client, namespace: &str, expected: &[String]) -> Outcome {
    let mut found = Vec::new();
    for _ in 0..240 {
        found = managed_objects(api, namespace).await?;
        if found == expected {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("there are {found:?}, not {expected:?}").into())
}
