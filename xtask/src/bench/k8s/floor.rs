//! What a plain Pod costs: nothing of ours can be faster.

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

/// A watch that is there already, and on it the moment at which a Pod's address is told.
pub(super) async fn addressed(
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

/// The Pod's name, and since the POST: the container's first instruction, and the Pod's address on a watch.
pub(super) async fn pod(cluster: &Cluster) -> Result<(String, Duration, Duration)> {
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
    let addressed = addressed(cluster, &name).await?;
    let (posted, start) = (Timestamp::now(), Instant::now());
    pods.create(&PostParams::default(), &manifest).await?;
    let addressed = addressed.await?.duration_since(start);
    // The node's runtime notes when it heard a line, to the nanosecond.
    let timed = LogParams {
        timestamps: true,
        ..LogParams::default()
    };
    let first = loop {
        let log = pods.logs(&name, &timed).await.unwrap_or_default();
        if let Some(said) = log.split_whitespace().next() {
            let at: Timestamp = said
                .parse()
                .with_context(|| format!("{said:?} is no time"))?;
            break Duration::try_from(at.duration_since(posted)).unwrap_or_default();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Ok((name, first, addressed))
}
