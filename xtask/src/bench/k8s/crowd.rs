//! Times ten, fifty and a hundred creations at once, each next to as many plain Pods at once. Each row begins on a node that
//! has been left alone for a while: a kubelet works on deleted Pods after their objects are gone.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use sandbox::{Sandbox, SandboxId};
use sandbox_k8s::options::Transport;

use super::baseline;
use super::cluster::{Cluster, Mode};
use super::start::create_and_run;
use crate::bench::figures::{Figures, table};
use crate::bench::load::{Load, Worked};

/// How many are created at once, if no numbers are named.
const SIZES: [usize; 3] = [10, 50, 100];
const ROWS: [(Mode, Transport, &str); 5] = [
    (Mode::Baked, Transport::Direct, "Baked, direct"),
    (Mode::Baked, Transport::PortForward, "Baked, port-forward"),
    (Mode::Upload, Transport::PortForward, "Upload, port-forward"),
    (Mode::Upload, Transport::Direct, "Upload, direct"),
    (
        Mode::Inject,
        Transport::Direct,
        "Inject (init container), direct",
    ),
];

/// How long the node is left alone before each row.
const QUIET: Duration = Duration::from_secs(20);

/// How much longer than plain Pods the sandboxes may take.
const EXPECTED: f64 = 1.1;

const PLAIN: &str = "plain Pods, to the first instruction of each";

/// Measures crowds of these sizes, or of the usual ones.
pub(super) async fn measure(cluster: &Cluster, named: &[&str]) -> Result<()> {
    let mut sizes: Vec<usize> = named.iter().filter_map(|name| name.parse().ok()).collect();
    if sizes.is_empty() {
        sizes.extend(SIZES);
    }
    for size in sizes {
        let (plain, worked) = start_plain(cluster, size).await?;
        let mut rows = vec![(PLAIN, Some(plain))];
        let mut loads = vec![format!("{PLAIN}, and up to a second more: {worked}")];
        let mut requests = Vec::new();
        for (mode, route, name) in ROWS {
            let mut ours = None;
            if cluster.supports(mode) {
                let (figures, asked, worked) = create_at_once(cluster, mode, route, size).await?;
                requests.push(format!("{name}: {asked}"));
                loads.push(format!("{name}: {worked}"));
                ours = Some(figures);
            }
            rows.push((name, ours));
        }
        report(size, &rows);
        println!("\nuntil the last one:\n");
        for line in loads {
            println!("* {line}");
        }
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
    table(&format!("{size} at once"), PLAIN, &lines);
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

/// Starts plain Pods, and returns the times to the first instruction of each, and the work.
async fn start_plain(cluster: &Cluster, size: usize) -> Result<(Figures, Worked)> {
    tokio::time::sleep(QUIET).await;
    let mut figures = Figures::default();
    let (all, worked) = baseline::create_pods_at_once(cluster, size).await?;
    for took in all {
        figures.add_duration(took);
    }
    Ok((figures, worked))
}

/// Creates sandboxes, and returns the times to the first output of each, the requests, and the work until the last output.
async fn create_at_once(
    cluster: &Cluster,
    mode: Mode,
    route: Transport,
    size: usize,
) -> Result<(Figures, String, Worked)> {
    tokio::time::sleep(QUIET).await;
    let (client, requests) = cluster.client(mode, route);
    let mut each = Figures::default();
    let load = Load::begin()?;
    let start = Instant::now();
    // Without limits, as the plain Pods: a hundred with limits do not fit on one node.
    let create = async |_| create_and_run(&client, mode, &SandboxId::generate()?).await;
    let created: Vec<(Sandbox, Instant)> = try_join_all((0..size).map(create)).await?;
    let worked = load.end()?;
    for (_, until) in &created {
        each.add_duration(until.duration_since(start));
    }
    try_join_all(created.iter().map(|(sbx, _)| sbx.delete())).await?;
    Ok((each, requests.summary(), worked))
}
