//! The CronJob of `deploy/` that removes expired sandboxes: its Pod, its account and permissions.

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

cases![the_gc_job_removes_ended_sandboxes_and_orphaned_secrets];

/// The image that `cargo xtask image --command` built.
const COMMAND: &str = "SANDBOX_TEST_COMMAND_IMAGE";
/// More than the grace of a Secret without a Pod, and less than the ttl of the sandbox.
const CLOCK_SKEW: Duration = Duration::from_secs(660);
const PAUSE: Duration = Duration::from_millis(250);

async fn the_gc_job_removes_ended_sandboxes_and_orphaned_secrets(_: TestedBackend) -> Outcome {
    // The namespace enforces the restricted standard, if the cluster can.
    deploy_manifests::with_namespace(true, async |api, namespace| run_gc(&api, &namespace).await)
        .await
}

async fn run_gc(api: &kube::Client, namespace: &str) -> Outcome {
    let (running, ended) = create_sandboxes(api, namespace).await?;
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    let has_ended = |pod: &Pod| {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    while !has_ended(&pods.get(ended.as_str()).await?) {
        tokio::time::sleep(PAUSE).await;
    }
    run_job(api, namespace).await?;
    // The Job ends when it has requested the deletions; the kubelet completes them later.
    let objects = |id: &SandboxId| vec![format!("Pod {id}"), format!("Secret {id}")];
    wait_for_objects(api, namespace, &objects(&running)).await?;

    pods.delete(running.as_str(), &DeleteParams::default().grace_period(0))
        .await?;
    let keys = [format!("Secret {running}")];
    wait_for_objects(api, namespace, &keys).await?;
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, GC).await?;
    let gc = connect(Some(&kubeconfig), None).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let backend = KubernetesBackend::new(gc.clone(), options.clone());
    let report = backend.sweep(SweepOptions::default()).await?;
    assert!(
        report.removed.is_empty(),
        "the Secret may belong to a sandbox that is being created: {report:?}"
    );
    wait_for_objects(api, namespace, &keys).await?;
    let report = KubernetesBackend::new(skew_clock(gc, CLOCK_SKEW), options)
        .sweep(SweepOptions::default())
        .await?;
    let removed: Vec<_> = report.removed.iter().map(|swept| &swept.id).collect();
    assert_eq!(removed, [&running]);
    wait_for_objects(api, namespace, &[]).await
}

/// Creates one sandbox that keeps running, and one that ends by itself when no client watches it.
async fn create_sandboxes(api: &kube::Client, namespace: &str) -> Outcome<(SandboxId, SandboxId)> {
    let kubeconfig = deploy_manifests::account_kubeconfig(api, namespace, CLIENT).await?;
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    let backend = KubernetesBackend::new(connect(Some(&kubeconfig), None).await?, options);
    let client = client_for(backend, defaults());
    let running = client
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(3600))
        .create();
    let ended = client
        .sandbox()
        .detached()
        .ttl(Duration::from_secs(20))
        .create();
    let (running, ended) = tokio::try_join!(running, ended)?;
    Ok((running.id().clone(), ended.id().clone()))
}

/// Runs the Job of the CronJob now. The CronJob itself is not used, because Kubernetes 1.20 has no
/// CronJob of this API version.
async fn run_job(api: &kube::Client, namespace: &str) -> Outcome {
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
    // A test cluster may have no network of services, so the Job gets the real address.
    let env = container["env"]
        .as_array_mut()
        .ok_or("a container without variables")?;
    let (host, port) = api_server_address(api).await?;
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
                return Err(format!("gc failed: {}", job_log(api, namespace).await?).into());
            }
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn api_server_address(api: &kube::Client) -> Outcome<(String, i32)> {
    let endpoints: Api<Endpoints> = Api::namespaced(api.clone(), "default");
    let subsets = endpoints
        .get("kubernetes")
        .await?
        .subsets
        .ok_or("the API server has no address")?;
    let subset = subsets
        .into_iter()
        .next()
        .ok_or("the API server has no address")?;
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

async fn job_log(api: &kube::Client, namespace: &str) -> Outcome<String> {
    let pods: Api<Pod> = Api::namespaced(api.clone(), namespace);
    let params = ListParams::default().labels("app.kubernetes.io/name=sandbox-gc");
    let pod = pods
        .list(&params)
        .await?
        .items
        .pop()
        .and_then(|pod| pod.metadata.name);
    Ok(pods
        .logs(&pod.ok_or("its Pod was deleted")?, &LogParams::default())
        .await?)
}

/// Waits until the namespace has exactly these objects.
async fn wait_for_objects(api: &kube::Client, namespace: &str, expected: &[String]) -> Outcome {
    let mut found = Vec::new();
    for _ in 0..240 {
        found = managed_objects(api, namespace).await?;
        if found == expected {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(format!("the objects are {found:?}, not {expected:?}").into())
}
