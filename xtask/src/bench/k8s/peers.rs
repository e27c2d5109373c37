//! What people do without an SDK: kubectl, and a script that polls once a second.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::cluster::Cluster;

/// The interval at which the script polls.
const POLL: Duration = Duration::from_secs(1);

/// Runs `kubectl run`, `kubectl wait` and `kubectl exec`; returns the Pod's name.
pub(super) fn run_kubectl(cluster: &Cluster) -> Result<String> {
    let name = format!("run-{}", sandbox::SandboxId::generate()?);
    let run = |args: &[&str]| {
        let mut kubectl = cluster.kubectl().context("kubectl is not installed")?;
        kubectl
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = tokio::task::block_in_place(|| kubectl.status())?;
        ensure!(status.success(), "kubectl {args:?} failed");
        Ok(())
    };
    let image = format!("--image={}", cluster.image);
    let pull = "--image-pull-policy=IfNotPresent";
    run(&[
        "run",
        &name,
        &image,
        pull,
        "--restart=Never",
        "--command",
        "--",
        "sleep",
        "600",
    ])?;
    run(&[
        "wait",
        "--for=condition=Ready",
        "--timeout=60s",
        &format!("pod/{name}"),
    ])?;
    run(&["exec", &name, "--", "echo", "out"])?;
    Ok(name)
}

/// Creates a Pod from an image with sshd, polls until it runs, and connects once a second until the
/// server sends its first byte. The handshake and the command are left out.
pub(super) async fn poll(cluster: &Cluster, image: &str) -> Result<String> {
    let name = format!("poll-{}", sandbox::SandboxId::generate()?);
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), &cluster.namespace);
    let manifest = serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "sshd", "image": image, "imagePullPolicy": "IfNotPresent"}],
        },
    }))?;
    pods.create(&PostParams::default(), &manifest).await?;
    let begun = Instant::now();
    let address = loop {
        let status = pods.get(&name).await?.status.unwrap_or_default();
        match (status.phase.as_deref(), status.pod_ip) {
            (Some("Running"), Some(address)) => break address,
            _ => ensure!(
                begun.elapsed() < Duration::from_secs(60),
                "{name} is not running after 60 s"
            ),
        }
        tokio::time::sleep(POLL).await;
    };
    while read_first_byte(&address).await.is_err() {
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "sshd in {name} does not answer within 60 s"
        );
        tokio::time::sleep(POLL).await;
    }
    Ok(name)
}

async fn read_first_byte(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect((address, 22)).await?;
    stream.read_u8().await?;
    Ok(())
}

pub(super) async fn delete(cluster: &Cluster, name: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cluster.api.clone(), &cluster.namespace);
    pods.delete(name, &DeleteParams::default().grace_period(0))
        .await?;
    Ok(())
}
