//! Ten at once, and fifty.

use std::time::Instant;

use anyhow::Result;
use futures_util::future::try_join_all;
use sandbox::Sandbox;
use sandbox_k8s::options::Transport;

use super::cluster::{Cluster, Mode};
use crate::bench::figures::{Figures, table};

const CROWDS: [usize; 2] = [10, 50];

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for crowd in CROWDS {
        at_once(cluster, crowd).await?;
    }
    Ok(())
}

async fn at_once(cluster: &Cluster, crowd: usize) -> Result<()> {
    let (client, requests) = cluster.client(Mode::Inject, Transport::Direct);
    let (mut each, mut all) = (Figures::default(), Figures::default());
    let start = Instant::now();
    let create = |_| async {
        let sbx = client.sandbox().cpu("20m").memory("32Mi").create().await?;
        sbx.command("true").output().await?.check()?;
        Ok::<_, anyhow::Error>((sbx, Instant::now()))
    };
    let made: Vec<(Sandbox, Instant)> = try_join_all((0..crowd).map(create)).await?;
    all.add(start);
    for (_, until) in &made {
        each.add_duration(until.duration_since(start));
    }
    let rows = [
        ("each, to its first output", Some(&each)),
        ("all of them", Some(&all)),
    ];
    let title = format!("{crowd} sandboxes at once (Inject, direct, 20m of a processor each)");
    table(&title, "all of them", &rows);
    try_join_all(made.iter().map(|(sbx, _)| sbx.delete())).await?;
    println!("\nrequests, from create to delete: {}", requests.told());
    Ok(())
}
