//! Sandboxes on a cluster, next to plain Pods and kubectl.
//!
//! `SANDBOX_KUBECONFIG` (or what kubectl takes) names the cluster, `SANDBOX_SERVER_IMAGE` the image
//! with the server, `SANDBOX_IMAGE` one with a shell, and `SANDBOX_BENCH_SSHD_IMAGE` one with an SSH
//! server of its own on port 22. The nodes have them all: fetching is not measured. The first
//! instruction's time is the node's, so its clock has to be this machine's.

mod cluster;
mod crowd;
mod exec;
mod floor;
mod peers;
mod start;
mod transfer;

use anyhow::Result;
use sandbox_k8s::options::Transport;

use cluster::Cluster;

/// Of each thing; the first ones are not counted.
const RUNS: usize = 20;
const WARM: usize = 2;

const WAYS: [(Transport, &str); 2] = [
    (Transport::Direct, "direct"),
    (Transport::PortForward, "port-forward"),
];

pub(crate) fn run(args: &[&str]) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(args))
}

/// All parts, or those that are named.
async fn measure(parts: &[&str]) -> Result<()> {
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let cluster = Cluster::begin().await?;
    println!(
        "Kubernetes {}, load average {}",
        cluster.version().await?,
        load()
    );
    let outcome = async {
        if wanted("start") {
            start::measure(&cluster).await?;
        }
        if wanted("exec") {
            exec::measure(&cluster).await?;
        }
        if wanted("transfer") {
            transfer::measure(&cluster).await?;
        }
        if wanted("crowd") {
            crowd::measure(&cluster).await?;
        }
        println!("\nload average at the end: {}", load());
        Ok(())
    }
    .await;
    cluster.end().await?;
    outcome
}

fn load() -> String {
    // Only Linux tells it there; without it the figures stand all the same.
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".into());
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
