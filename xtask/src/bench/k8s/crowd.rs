//! Times ten, fifty and a hundred creations at once, each next to as many plain Pods at once.

use std::time::Instant;

use anyhow::Result;
use futures_util::future::try_join_all;
use sandbox::Sandbox;
use sandbox_k8s::options::Transport;

use super::baseline;
use super::cluster::{Cluster, Mode};
use crate::bench::figures::{Figures, table};

const SIZES: [usize; 3] = [10, 50, 100];

/// How much longer than plain Pods the sandboxes may take.
const EXPECTED: f64 = 1.1;

const PLAIN: &str = "plain Pods, to the first instruction of each";
const OURS: &str = "sandboxes, to the first output of each";

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for size in SIZES {
        let plain = start_plain(cluster, size).await?;
        let ours = create_at_once(cluster, size).await?;
        let rows = [(PLAIN, Some(&plain)), (OURS, Some(&ours.0))];
        table(&format!("{size} at once (Inject, direct)"), PLAIN, &rows);
        let last = |figures: &Figures| figures.quantile(1.0) / 1000.0;
        println!(
            "\nexpected: the last sandbox at most {EXPECTED} times as late as the last plain Pod; it was {:.2} times as \
             late: {:.2} s after {:.2} s",
            last(&ours.0) / last(&plain),
            last(&ours.0),
            last(&plain)
        );
        println!("\nrequests, from create to delete: {}", ours.1);
    }
    Ok(())
}

/// Starts plain Pods, and returns the times to the first instruction of each.
async fn start_plain(cluster: &Cluster, size: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    for took in baseline::create_pods_at_once(cluster, size).await? {
        figures.add_duration(took);
    }
    Ok(figures)
}

/// Creates sandboxes, and returns the times to the first output of each, and the requests.
async fn create_at_once(cluster: &Cluster, size: usize) -> Result<(Figures, String)> {
    let (client, requests) = cluster.client(Mode::Inject, Transport::Direct);
    let mut each = Figures::default();
    let start = Instant::now();
    let create = |_| async {
        // Without limits, as the plain Pods: a hundred with limits do not fit on one node.
        let sbx = client.sandbox().create().await?;
        sbx.command("true").output().await?.check()?;
        Ok::<_, anyhow::Error>((sbx, Instant::now()))
    };
    let created: Vec<(Sandbox, Instant)> = try_join_all((0..size).map(create)).await?;
    for (_, until) in &created {
        each.add_duration(until.duration_since(start));
    }
    try_join_all(created.iter().map(|(sbx, _)| sbx.delete())).await?;
    Ok((each, requests.summary()))
}
