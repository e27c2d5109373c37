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
const MODES: [(Mode, &str); 2] = [
    (Mode::Inject, "Inject (init container)"),
    (Mode::Upload, "Upload"),
];

/// How much longer than plain Pods the sandboxes may take.
const EXPECTED: f64 = 1.1;

const PLAIN: &str = "plain Pods, to the first instruction of each";

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for size in SIZES {
        let plain = start_plain(cluster, size).await?;
        let mut rows = vec![(PLAIN, Some(plain))];
        let mut requests = Vec::new();
        for (mode, name) in MODES {
            let mut ours = None;
            if cluster.supports(mode) {
                let (figures, asked) = create_at_once(cluster, mode, size).await?;
                requests.push(format!("{name}: {asked}"));
                ours = Some(figures);
            }
            rows.push((name, ours));
        }
        report(size, &rows);
        println!("\nrequests, from create to delete:\n");
        for line in requests {
            println!("* {line}");
        }
    }
    Ok(())
}

/// Prints the times to the first instruction of each plain Pod and to the first output of each sandbox, and how the last
/// ones compare.
fn report(size: usize, rows: &[(&str, Option<Figures>)]) {
    let lines: Vec<_> = rows
        .iter()
        .map(|(name, figures)| (*name, figures.as_ref()))
        .collect();
    table(&format!("{size} at once, direct"), PLAIN, &lines);
    let last = |figures: &Figures| figures.quantile(1.0) / 1000.0;
    let Some(((_, Some(plain)), ours)) = rows.split_first() else {
        return;
    };
    println!();
    for (name, figures) in ours {
        let Some(figures) = figures else { continue };
        println!(
            "* {name}: the last sandbox {:.2} times as late as the last plain Pod ({EXPECTED} expected): {:.2} s after \
             {:.2} s",
            last(figures) / last(plain),
            last(figures),
            last(plain)
        );
    }
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
async fn create_at_once(cluster: &Cluster, mode: Mode, size: usize) -> Result<(Figures, String)> {
    let (client, requests) = cluster.client(mode, Transport::Direct);
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
