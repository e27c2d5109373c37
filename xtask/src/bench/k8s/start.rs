//! From the call of `create` to the first output of a first command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use sandbox::{Client, Sandbox, SandboxId};

use super::cluster::{Cluster, Mode, Requests};
use super::{RUNS, WARM, WAYS, floor, peers};
use crate::bench::figures::{Figures, table};

const MODES: [(Mode, &str); 3] = [
    (Mode::Baked, "Baked"),
    (Mode::Inject, "Inject (init container)"),
    (Mode::Image, "Image (its own sshd)"),
];
const FLOOR: &str = "a plain Pod's first instruction";
const ADDRESSED: &str = "the same Pods' address on a watch, and that";
const KUBECTL: &str = "`kubectl run`, `kubectl wait`, `kubectl exec`";
const POLLING: &str = "a Pod with sshd, asked for once a second, to sshd's first word";

/// One way to a first output.
enum Start {
    Plain,
    Ours(Mode, Client, Requests),
    Kubectl,
    Polling(String),
}

/// What a start leaves behind.
enum Left {
    Sandbox(Sandbox),
    Pod(String),
}

struct Row {
    name: String,
    start: Start,
    figures: Figures,
    /// Until the address of the same Pods was on a watch of the bench's, where that is waited for: a
    /// kubelet tells it once a second, so that of other Pods comes at other times.
    addressed: Figures,
}

pub(super) async fn measure(cluster: &Cluster) -> Result<()> {
    let mut rows = rows(cluster);
    for round in 0..RUNS + WARM {
        // A node with Pods is slower than one without, so whoever always came first would win.
        rows.rotate_left(1);
        let mut left = Vec::new();
        for row in &mut rows {
            any_time().await?;
            let (behind, took, until_addressed) = row.start.once(cluster).await?;
            left.push(behind);
            if round >= WARM {
                row.figures.add_duration(took);
                until_addressed
                    .into_iter()
                    .for_each(|took| row.addressed.add_duration(took));
            }
        }
        // The next round begins when they have gone, which takes ten seconds on old clusters.
        try_join_all(left.into_iter().map(|left| left.delete(cluster))).await?;
    }
    print(&rows);
    Ok(())
}

fn rows(cluster: &Cluster) -> Vec<Row> {
    let row = |name, start| Row {
        name,
        start,
        figures: Figures::default(),
        addressed: Figures::default(),
    };
    let mut rows = vec![row(FLOOR.to_owned(), Start::Plain)];
    for (mode, named) in MODES {
        for (way, over) in WAYS {
            if mode != Mode::Image || cluster.sshd_image.is_some() {
                let (client, requests) = cluster.client(mode, way);
                rows.push(row(
                    format!("{named}, {over}"),
                    Start::Ours(mode, client, requests),
                ));
            }
        }
    }
    rows.extend(
        cluster
            .kubectl()
            .map(|_| row(KUBECTL.to_owned(), Start::Kubectl)),
    );
    rows.extend(
        cluster
            .sshd_image
            .clone()
            .map(|image| row(POLLING.to_owned(), Start::Polling(image))),
    );
    rows
}

/// In the order in which they were made.
fn print(rows: &[Row]) {
    let row = |name: &str| rows.iter().find(|row| row.name == name);
    let names: Vec<_> = MODES
        .iter()
        .flat_map(|(_, named)| WAYS.map(|(_, over)| format!("{named}, {over}")))
        .collect();
    let mut lines = Vec::new();
    for name in [FLOOR]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .chain([KUBECTL, POLLING])
    {
        lines.push((name, row(name).map(|row| &row.figures)));
        if let Some(row) = row(name).filter(|row| !row.addressed.is_empty()) {
            lines.push((ADDRESSED, Some(&row.addressed)));
        }
    }
    table("From create to the first output", FLOOR, &lines);
    println!(
        "\nrequests for {} sandboxes, from create to delete:",
        RUNS + WARM
    );
    for name in &names {
        if let Some(Row {
            start: Start::Ours(_, _, requests),
            ..
        }) = row(name)
        {
            println!("* {name}: {}", requests.told());
        }
    }
}

impl Start {
    /// How long it took, and until the address was known where that is another time.
    async fn once(&self, cluster: &Cluster) -> Result<(Left, Duration, Option<Duration>)> {
        let begun = Instant::now();
        let left = match self {
            Self::Plain => {
                let (name, instruction, address) = floor::pod(cluster).await?;
                return Ok((Left::Pod(name), instruction, Some(instruction.max(address))));
            }
            Self::Ours(mode, client, _) => {
                let id = SandboxId::generate()?;
                let addressed = floor::addressed(cluster, id.as_str()).await?;
                let begun = Instant::now();
                let ((sbx, output), addressed) =
                    tokio::try_join!(first_output(client, *mode, &id), addressed)?;
                let took = output.duration_since(begun);
                return Ok((
                    Left::Sandbox(sbx),
                    took,
                    Some(addressed.duration_since(begun)),
                ));
            }
            Self::Kubectl => Left::Pod(peers::kubectl(cluster)?),
            Self::Polling(image) => Left::Pod(peers::polling(cluster, image).await?),
        };
        Ok((left, begun.elapsed(), None))
    }
}

impl Left {
    async fn delete(self, cluster: &Cluster) -> Result<()> {
        match self {
            Self::Sandbox(sbx) => sbx.delete().await.context("a sandbox was not deleted"),
            Self::Pod(name) => peers::delete(cluster, &name).await,
        }
    }
}

/// A kubelet looks at its containers once a second, and what begins when it has just done so, because
/// something else has ended by that, always waits the whole of it.
async fn any_time() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    tokio::time::sleep(Duration::from_millis(u64::from(
        now.subsec_nanos() / 7 % 1000,
    )))
    .await;
    Ok(())
}

/// One that needs no shell in the image; with the time of that output.
async fn first_output(client: &Client, mode: Mode, id: &SandboxId) -> Result<(Sandbox, Instant)> {
    let sbx = client.sandbox().id(id).create().await?;
    let command = match mode {
        Mode::Baked => sbx.command("/sandbox-sshd").arg("--version"),
        Mode::Inject | Mode::Image => sbx.command("echo").arg("out"),
    };
    command.output().await?.check()?;
    Ok((sbx, Instant::now()))
}
