//! Times a short command in a running sandbox.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::ROUTES;
use super::cluster::{Cluster, Mode};
use crate::bench::figures::{Figures, table};

const EXECS: usize = 200;

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    let mut sandboxes = Vec::new();
    for (route, over) in ROUTES {
        let (client, _) = cluster.client(Mode::Inject, route);
        sandboxes.push((over, client.sandbox().create().await?, Figures::default()));
    }
    let mut kubectl = Figures::default();
    for round in 0..EXECS + 20 {
        let warm = round >= 20;
        for (_, sbx, figures) in &mut sandboxes {
            let start = Instant::now();
            sbx.command("true").output().await?.check()?;
            if warm {
                figures.add(start);
            }
        }
        // kubectl is a hundred times as slow, so it runs less often.
        let Some(mut peer) = cluster.kubectl().filter(|_| warm && round % 10 == 0) else {
            continue;
        };
        peer.args(["exec", sandboxes[0].1.id().as_str(), "--", "true"])
            .stdin(Stdio::null());
        let start = Instant::now();
        let status = tokio::task::block_in_place(|| peer.status())?;
        ensure!(status.success(), "kubectl exec failed");
        kubectl.add(start);
    }
    let name = |over: &str| format!("a sandbox, warm session, {over}");
    let names: Vec<String> = sandboxes.iter().map(|(over, ..)| name(over)).collect();
    let mut rows: Vec<(&str, Option<&Figures>)> = names
        .iter()
        .zip(&sandboxes)
        .map(|(name, (_, _, figures))| (name.as_str(), Some(figures)))
        .collect();
    rows.push(("kubectl exec", cluster.kubectl().map(|_| &kubectl)));
    table(
        "`true`, from the call to its exit status",
        "kubectl exec",
        &rows,
    );
    for (_, sbx, _) in sandboxes {
        sbx.delete().await?;
    }
    Ok(())
}
