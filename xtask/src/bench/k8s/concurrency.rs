//! Times ten and fifty creations at once.

use std::time::Instant;

use anyhow::Result;
use futures_util::future::try_join_all;
use sandbox::Sandbox;
use sandbox_k8s::options::Transport;

use super::cluster::{Cluster, Mode};
use crate::bench::figures::{Figures, table};

const SIZES: [usize; 2] = [10, 50];

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    for size in SIZES {
        create_at_once(cluster, size).await?;
    }
    Ok(())
}

async fn create_at_once(cluster: &Cluster, size: usize) -> Result<()> {
    let (client, requests) = cluster.client(Mode::Inject, Transport::Direct);
    let (mut each, mut all) = (Figures::default(), Figures::default());
    let start = Instant::now();
    let create = |_| async {
        let sbx = client.sandbox().cpu("20m").memory("32Mi").create().await?;
        sbx.command("true").output().await?.check()?;
        Ok::<_, anyhow::Error>((sbx, Instant::now()))
    };
    let created: Vec<(Sandbox, Instant)> = try_join_all((0..size).map(create)).await?;
    all.add(start);
    for (_, until) in &created {
        each.add_duration(until.duration_since(start));
    }
    let rows = [
        ("each, to its first output", Some(&each)),
        ("all of them", Some(&all)),
    ];
    let title = format!("{size} sandboxes at once (Inject, direct, 20m of a processor each)");
    table(&title, "all of them", &rows);
    try_join_all(created.iter().map(|(sbx, _)| sbx.delete())).await?;
    println!("\nrequests, from create to delete: {}", requests.summary());
    Ok(())
}
