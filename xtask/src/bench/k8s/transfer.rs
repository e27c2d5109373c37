//! Times the upload and download of a large file.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, Mode};
use super::{ROUTES, RUNS};
use crate::bench::figures::{Figures, table};

const BYTES: usize = 256 << 20;
const TRANSFERS: usize = RUNS;

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    // Noise cannot be compressed.
    let mut noise: u64 = 1;
    let content: Vec<u8> = std::iter::repeat_with(|| {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (noise >> 56) as u8
    })
    .take(BYTES)
    .collect();
    std::fs::write(&from, content)?;
    let mut sandboxes = Vec::new();
    for (route, over) in ROUTES {
        let (client, _) = cluster.client(Mode::Inject, route);
        sandboxes.push((
            over,
            client.sandbox().create().await?,
            Figures::default(),
            Figures::default(),
        ));
    }
    let (mut kubectl_up, mut kubectl_down) = (Figures::default(), Figures::default());
    for _ in 0..TRANSFERS {
        for (_, sbx, up, down) in &mut sandboxes {
            let start = Instant::now();
            sbx.upload(&from, "large").await?;
            up.add(start);
            let start = Instant::now();
            sbx.download("large", &to).await?;
            down.add(start);
        }
        // kubectl cp needs tar in the image.
        if cluster.kubectl().is_some() {
            let inside = format!("{}:/tmp/large", sandboxes[0].1.id());
            let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
            kubectl_up.add(kubectl_cp(cluster, [&from, &inside])?);
            kubectl_down.add(kubectl_cp(cluster, [&inside, &to])?);
        }
    }
    for (direction, down) in [("up", false), ("down", true)] {
        let names: Vec<String> = sandboxes
            .iter()
            .map(|(over, ..)| format!("a sandbox, {over}"))
            .collect();
        let figures = sandboxes
            .iter()
            .map(|(_, _, up, downward)| if down { downward } else { up });
        let mut rows: Vec<(&str, Option<&Figures>)> = names
            .iter()
            .zip(figures)
            .map(|(name, figures)| (name.as_str(), Some(figures)))
            .collect();
        let kubectl = if down { &kubectl_down } else { &kubectl_up };
        rows.push(("kubectl cp", cluster.kubectl().map(|_| kubectl)));
        table(&format!("256 MiB {direction}"), "kubectl cp", &rows);
    }
    for (_, sbx, ..) in sandboxes {
        sbx.delete().await?;
    }
    Ok(())
}

/// Runs kubectl cp; returns when it started.
fn kubectl_cp(cluster: &Cluster, [from, to]: [&str; 2]) -> Result<Instant> {
    let start = Instant::now();
    if let Some(mut kubectl) = cluster.kubectl() {
        kubectl
            .args(["cp", from, to])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let status = tokio::task::block_in_place(|| kubectl.status())?;
        ensure!(status.success(), "kubectl cp failed");
    }
    Ok(start)
}
