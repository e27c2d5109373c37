//! Times a plain Pod, which no sandbox can beat.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, PostParams, WatchEvent, WatchParams};
use sandbox::SandboxId;
use serde_json::json;

use super::cluster::Cluster;
use crate::bench::load::{Load, Worked};

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
    let manifest = manifest(cluster, &name)?;
    let addressed = watch_address(cluster, &name).await?;
    let (posted, start) = (Timestamp::now(), Instant::now());
    pods.create(&PostParams::default(), &manifest).await?;
    let addressed = addressed.await?.duration_since(start);
    let first = loop {
        if let Some(first) = first_instruction(&pods, &name, posted).await? {
            break first;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    Ok((name, first, addressed))
}

/// Creates plain Pods at once. Returns the times from the first POST to the first instruction of each, when all are
/// deleted again, and the work until all ran. While they start, they are only asked for once a second.
pub(super) async fn create_pods_at_once(
    cluster: &Cluster,
    count: usize,
) -> Result<(Vec<Duration>, Worked)> {
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), &cluster.namespace);
    let mut names = Vec::new();
    let mut manifests = Vec::new();
    for _ in 0..count {
        let name = format!("plain-{}", SandboxId::generate()?);
        manifests.push(manifest(cluster, &name)?);
        names.push(name);
    }
    let load = Load::begin()?;
    let posted = Timestamp::now();
    let params = PostParams::default();
    try_join_all(manifests.iter().map(|pod| pods.create(&params, pod))).await?;
    let are_running = async || {
        let listed = pods.list(&ListParams::default().labels(LABEL)).await?;
        let running = listed.iter().filter(|pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.as_deref());
            phase == Some("Running")
        });
        Ok::<_, kube::Error>(running.count() >= count)
    };
    while !are_running().await? {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let worked = load.end()?;
    let mut all = Vec::new();
    for name in &names {
        let first = first_instruction(&pods, name, posted).await?;
        all.push(first.with_context(|| format!("{name} has no log"))?);
    }
    let at_once = DeleteParams::default().grace_period(0);
    try_join_all(names.iter().map(|name| pods.delete(name, &at_once))).await?;
    while !pods
        .list(&ListParams::default().labels(LABEL))
        .await?
        .items
        .is_empty()
    {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok((all, worked))
}

/// The label of plain Pods.
const LABEL: &str = "bench=plain";

fn manifest(cluster: &Cluster, name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"bench": "plain"}},
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
    }))?)
}

/// Returns how long after `posted` the container has run its first instruction; `None` if it has not.
async fn first_instruction(
    pods: &Api<Pod>,
    name: &str,
    posted: Timestamp,
) -> Result<Option<Duration>> {
    // The container runtime records the time of each log line in nanoseconds.
    let timed = LogParams {
        timestamps: true,
        ..LogParams::default()
    };
    let log = pods.logs(name, &timed).await.unwrap_or_default();
    let Some(timestamp) = log.split_whitespace().next() else {
        return Ok(None);
    };
    let at: Timestamp = timestamp
        .parse()
        .with_context(|| format!("{timestamp:?} is not a timestamp"))?;
    let first = Duration::try_from(at.duration_since(posted)).unwrap_or_default();
    Ok(Some(first))
}
