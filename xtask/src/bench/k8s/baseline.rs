//! Times a plain Pod, which no sandbox can beat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{LogParams, PostParams, WatchEvent, WatchParams};
use sandbox::SandboxId;
use serde_json::json;

use super::cluster::Cluster;

/// Starts a watch; the returned future resolves to the time at which it reports a Pod's address.
pub(super) async fn watch_address(
    cluster: &Cluster,
    name: &str,
) -> Result<impl Future<Output = Result<Instant>> + use<>> {
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), &cluster.namespace);
    let version = pods
        .list(&Default::default())
        .await?
        .metadata
        .resource_version
        .unwrap_or_default();
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&watch, &version).await?.boxed();
    Ok(async move {
        loop {
            let event = events.try_next().await?.context("the watch has ended")?;
            let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else {
                continue;
            };
            if pod.status.is_some_and(|status| status.pod_ip.is_some()) {
                return Ok(Instant::now());
            }
        }
    })
}

/// Creates a plain Pod. Returns its name, and the times from the POST to the container's first
/// instruction and to the Pod's address on a watch.
pub(super) async fn create_pod(cluster: &Cluster) -> Result<(String, Duration, Duration)> {
    let name = format!("plain-{}", SandboxId::generate()?);
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), &cluster.namespace);
    let manifest: Pod = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "plain",
                "image": cluster.image,
                "imagePullPolicy": "IfNotPresent",
                "command": ["sh", "-c", "echo begun; exec sleep 600"],
            }],
        },
    }))?;
    let addressed = watch_address(cluster, &name).await?;
    let (posted, start) = (Timestamp::now(), Instant::now());
    pods.create(&PostParams::default(), &manifest).await?;
    let addressed = addressed.await?.duration_since(start);
    // The container runtime records the time of each log line in nanoseconds.
    let timed = LogParams {
        timestamps: true,
        ..LogParams::default()
    };
    let first = loop {
        let log = pods.logs(&name, &timed).await.unwrap_or_default();
        if let Some(timestamp) = log.split_whitespace().next() {
            let at: Timestamp = timestamp
                .parse()
                .with_context(|| format!("{timestamp:?} is not a timestamp"))?;
            break Duration::try_from(at.duration_since(posted)).unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Ok((name, first, addressed))
}
