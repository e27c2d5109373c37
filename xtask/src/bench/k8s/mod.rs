//! Times sandboxes on a cluster next to plain Pods and kubectl.
//!
//! `SANDBOX_KUBECONFIG` (or kubectl's default) names the cluster, `SANDBOX_SERVER_IMAGE` the image
//! with the server, `SANDBOX_IMAGE` an image with a shell. Two are optional: `SANDBOX_SERVER_PATH`,
//! the server to upload, and `SANDBOX_BENCH_SSHD_IMAGE`, an image with its own SSH server on port 22.
//! The nodes must have all images, because pulling is not measured. The time of a first instruction
//! comes from the node, so the node's clock must be this machine's.

mod baseline;
mod cluster;
mod crowd;
mod exec;
mod peers;
mod pool;
mod start;
mod transfer;

use anyhow::Result;
use sandbox_k8s::options::Transport;

use cluster::Cluster;

/// Counted runs of each case.
const RUNS: usize = 20;
/// Runs before them, which are not counted.
const WARM_UP: usize = 2;

const ROUTES: [(Transport, &str); 2] = [
    (Transport::Direct, "direct"),
    (Transport::PortForward, "port-forward"),
];

pub(crate) fn run(args: &[&str]) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(args))
}

/// Measures the named parts, or all but `pool`. Other words name routes of `pool` (or `shared`), rows of `start` and sizes of
/// `crowd`.
async fn measure(parts: &[&str]) -> Result<()> {
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    let cluster = Cluster::connect().await?;
    println!(
        "Kubernetes {}, load average {}",
        cluster.version().await?,
        load_average()
    );
    let outcome = async {
        if wanted("start") {
            start::measure(&cluster, parts).await?;
        }
        if wanted("exec") {
            exec::measure(&cluster).await?;
        }
        if wanted("transfer") {
            transfer::measure(&cluster).await?;
        }
        if wanted("crowd") {
            crowd::measure(&cluster, parts).await?;
        }
        if parts.contains(&"pool") {
            pool::measure(&cluster, parts).await?;
        }
        println!("\nload average at the end: {}", load_average());
        Ok(())
    }
    .await;
    cluster.delete_namespace().await?;
    outcome
}

fn load_average() -> String {
    // Only Linux has this file.
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".into());
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}
