//! From the call of `create` to the first output of a first command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use futures_util::future::try_join_all;
use sandbox::{Client, Sandbox};

use super::cluster::{Cluster, Mode};
use super::{RUNS, WARM, WAYS, floor, peers};
use crate::bench::figures::{Figures, table};

const MODES: [(Mode, &str); 3] = [
    (Mode::Baked, "Baked"),
    (Mode::Inject, "Inject (init container)"),
    (Mode::Image, "Image (its own sshd)"),
];

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    let (mut first, mut addressed) = (Figures::default(), Figures::default());
    let mut rows = Vec::new();
    for (mode, named) in MODES {
        for (way, over) in WAYS {
            let (client, requests) = cluster.client(mode, way);
            rows.push((mode, format!("{named}, {over}"), client, requests, Figures::default()));
        }
    }
    let (mut kubectl, mut polling) = (Figures::default(), Figures::default());
    let mut made = Vec::new();
    for round in 0..RUNS + WARM {
        any_time().await?;
        let (instruction, address) = floor::pod(cluster).await?;
        if round >= WARM {
            first.add_duration(instruction);
            addressed.add_duration(instruction.max(address));
        }
        for (mode, _, client, _, figures) in &mut rows {
            if *mode == Mode::Image && cluster.sshd_image.is_none() {
                continue;
            }
            any_time().await?;
            let start = Instant::now();
            let sbx = first_output(client, *mode).await?;
            if round >= WARM {
                figures.add(start);
            }
            made.push(sbx);
        }
        // They take several times as long as the others: fewer of them.
        if round % 4 == 0 && cluster.kubectl().is_some() {
            any_time().await?;
            let start = Instant::now();
            let name = peers::kubectl(cluster)?;
            kubectl.add(start);
            peers::delete(cluster, &name).await?;
        }
        if let (0, Some(image)) = (round % 4, &cluster.sshd_image) {
            any_time().await?;
            let start = Instant::now();
            let name = peers::polling(cluster, image).await?;
            polling.add(start);
            peers::delete(cluster, &name).await?;
        }
        // Pods that go keep the node busy: the next round begins when they have gone, which takes
        // ten seconds on old clusters.
        try_join_all(made.drain(..).map(|sbx: Sandbox| async move { sbx.delete().await })).await?;
    }
    const FLOOR: &str = "a plain Pod's first instruction";
    const KUBECTL: &str = "`kubectl run`, `kubectl wait`, `kubectl exec`";
    const POLLING: &str = "a Pod with sshd, asked for once a second, to sshd's first word";
    let mut lines = vec![(FLOOR, Some(&first)), ("the same, and its address on the watch", Some(&addressed))];
    for (mode, name, _, _, figures) in &rows {
        let measured = *mode != Mode::Image || cluster.sshd_image.is_some();
        lines.push((name.as_str(), measured.then_some(figures)));
    }
    lines.push((KUBECTL, cluster.kubectl().map(|_| &kubectl)));
    lines.push((POLLING, cluster.sshd_image.as_ref().map(|_| &polling)));
    table("From create to the first output", FLOOR, &lines);
    println!("\nrequests for {} sandboxes, from create to delete:", RUNS + WARM);
    for (_, name, _, requests, _) in &rows {
        println!("* {name}: {}", requests.told());
    }
    Ok(())
}

/// A kubelet looks at its containers once a second, and what begins when it has just done so, because
/// something else has ended by that, always waits the whole of it.
async fn any_time() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    tokio::time::sleep(Duration::from_millis(u64::from(now.subsec_nanos() / 7 % 1000))).await;
    Ok(())
}

/// One that needs no shell in the image.
pub(super) async fn first_output(client: &Client, mode: Mode) -> Result<Sandbox> {
    let sbx = client.sandbox().create().await?;
    let command = match mode {
        Mode::Baked => sbx.command("/sandbox-sshd").arg("--version"),
        Mode::Inject | Mode::Image => sbx.command("echo").arg("out"),
    };
    command.output().await?.check()?;
    Ok(sbx)
}
