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

/// Measures the named sizes, or all.
pub(super) async fn measure(cluster: &Cluster, named: &[&str]) -> Result<()> {
    let is_named = |size: usize| named.contains(&size.to_string().as_str());
    let all = !SIZES.into_iter().any(is_named);
    for size in SIZES.into_iter().filter(|size| all || is_named(*size)) {
        let plain = start_plain(cluster, size).await?;
        let mut rows = vec![(PLAIN, Some(plain))];
        let mut requests = Vec::new();
        for (mode, route, name) in ROWS {
            let mut ours = None;
            if cluster.supports(mode) {
                let (figures, asked) = create_at_once(cluster, mode, route, size).await?;
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

/// Starts plain Pods, and returns the times to the first instruction of each.
async fn start_plain(cluster: &Cluster, size: usize) -> Result<Figures> {
    tokio::time::sleep(QUIET).await;
    let mut figures = Figures::default();
    for took in baseline::create_pods_at_once(cluster, size).await? {
        figures.add_duration(took);
    }
    Ok(figures)
}

/// Creates sandboxes, and returns the times to the first output of each, and the requests.
async fn create_at_once(
    cluster: &Cluster,
    mode: Mode,
    route: Transport,
    size: usize,
) -> Result<(Figures, String)> {
    tokio::time::sleep(QUIET).await;
    let (client, requests) = cluster.client(mode, route);
    let mut each = Figures::default();
    let start = Instant::now();
    // Without limits, as the plain Pods: a hundred with limits do not fit on one node.
    let create = async |_| create_and_run(&client, mode, &SandboxId::generate()?).await;
    let created: Vec<(Sandbox, Instant)> = try_join_all((0..size).map(create)).await?;
    for (_, until) in &created {
        each.add_duration(until.duration_since(start));
    }
    try_join_all(created.iter().map(|(sbx, _)| sbx.delete())).await?;
    Ok((each, requests.summary()))
}
