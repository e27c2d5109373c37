//! What a plain Pod costs: nothing of ours can be faster.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use super::cluster::Cluster;

/// Since the POST: the container's first instruction, and the Pod's address on a watch.
pub(super) async fn pod(cluster: &Cluster) -> Result<(Duration, Duration)> {
    let name = format!("plain-{}", sandbox::SandboxId::generate()?);
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
                "command": ["sh", "-c", "date +%s%N; exec sleep 600"],
            }],
        },
    }))?;
    let version = pods.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let watch = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = pods.watch(&watch, &version).await?.boxed();
    let (posted, start) = (SystemTime::now().duration_since(UNIX_EPOCH)?, Instant::now());
    pods.create(&PostParams::default(), &manifest).await?;
    let addressed = loop {
        let event = events.try_next().await?.context("the watch has ended")?;
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
        if pod.status.is_some_and(|status| status.pod_ip.is_some()) {
            break start.elapsed();
        }
    };
    let first = loop {
        let log = pods.logs(&name, &LogParams::default()).await.unwrap_or_default();
        if let Some(line) = log.lines().next() {
            let nanoseconds = line.parse().with_context(|| format!("{line:?} is no time in nanoseconds"))?;
            break Duration::from_nanos(nanoseconds).saturating_sub(posted);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    Ok((first, addressed))
}
