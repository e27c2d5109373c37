//! Times the start of a sandbox, from the call of `create` to the first output of a command.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use sandbox::{Client, Sandbox, SandboxId};

use super::cluster::{Cluster, Mode, Requests};
use super::{ROUTES, RUNS, WARM_UP, baseline, peers};
use crate::bench::deletions::Deletions;
use crate::bench::figures::{Figures, table};

const MODES: [(Mode, &str); 4] = [
    (Mode::Baked, "Baked"),
    (Mode::Inject, "Inject (init container)"),
    (Mode::Upload, "Upload"),
    (Mode::Image, "Image (its own sshd)"),
];
const BASELINE: &str = "a plain Pod's first instruction";
const ADDRESSED: &str = "the same Pods' address on a watch, and that";
const KUBECTL: &str = "`kubectl run`, `kubectl wait`, `kubectl exec`";
const POLLING: &str = "a Pod with sshd, polled once a second, to sshd's first byte";

/// One way to get a first output.
enum Start {
    Plain,
    Ours(Mode, Client, Requests),
    Kubectl,
    Polling(String),
}

/// What a start has created and must delete.
enum Created {
    Sandbox(Sandbox),
    Pod(String),
}

struct Row {
    name: String,
    start: Start,
    figures: Figures,
    /// The time until a watch of the benchmark reported the address of the same Pods, where a start
    /// waits for it. A kubelet reports addresses once a second, so that those of other Pods arrive
    /// at other times.
    addressed: Figures,
}

/// How long the deletion of a round's Pods is waited for, so that few Pods are on the node in the next round.
const DELETION_PATIENCE: Duration = Duration::from_secs(10);

/// Times all ways, or those whose name begins with one of `named`, in lower case.
pub(super) async fn measure(cluster: &Cluster, named: &[&str]) -> Result<()> {
    let mut rows = rows(cluster);
    let is_named = |row: &Row| {
        named
            .iter()
            .any(|name| row.name.to_lowercase().starts_with(name))
    };
    if rows.iter().any(is_named) {
        rows.retain(|row| row.name == BASELINE || is_named(row));
    }
    let mut deletions = Deletions::default();
    for round in 0..RUNS + WARM_UP {
        // A node is slower with Pods than without, so a row that always came first would win.
        rows.rotate_left(1);
        let mut created = Vec::new();
        for row in &mut rows {
            wait_a_random_time().await?;
            let (object, took, until_addressed) = row.start.run(cluster).await?;
            created.push(object);
            if round >= WARM_UP {
                row.figures.add_duration(took);
                until_addressed
                    .into_iter()
                    .for_each(|took| row.addressed.add_duration(took));
            }
        }
        for object in created {
            match object {
                Created::Sandbox(sbx) => deletions.start([sbx]),
                Created::Pod(name) => peers::delete(cluster, &name).await?,
            }
        }
        deletions.settle(DELETION_PATIENCE).await?;
    }
    deletions.finish().await?;
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
    let mut rows = vec![row(BASELINE.to_owned(), Start::Plain)];
    for (mode, named) in MODES {
        for (route, over) in ROUTES {
            if cluster.supports(mode) {
                let (client, requests) = cluster.client(mode, route);
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

/// Prints the rows in the order in which they were defined.
fn print(rows: &[Row]) {
    let row = |name: &str| rows.iter().find(|row| row.name == name);
    let names: Vec<_> = MODES
        .iter()
        .flat_map(|(_, named)| ROUTES.map(|(_, over)| format!("{named}, {over}")))
        .collect();
    let mut lines = Vec::new();
    for name in [BASELINE]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .chain([KUBECTL, POLLING])
    {
        lines.push((name, row(name).map(|row| &row.figures)));
        if let Some(row) = row(name).filter(|row| !row.addressed.is_empty()) {
            lines.push((ADDRESSED, Some(&row.addressed)));
        }
    }
    table("From create to the first output", BASELINE, &lines);
    println!(
        "\nrequests for {} sandboxes, from create to delete:",
        RUNS + WARM_UP
    );
    for name in &names {
        if let Some(Row {
            start: Start::Ours(_, _, requests),
            ..
        }) = row(name)
        {
            println!("* {name}: {}", requests.summary());
        }
    }
}

impl Start {
    /// Starts once. Returns what was created, how long it took, and the time until the address was
    /// reported where that is another time.
    async fn run(&self, cluster: &Cluster) -> Result<(Created, Duration, Option<Duration>)> {
        let begun = Instant::now();
        let created = match self {
            Self::Plain => {
                let (name, instruction, address) = baseline::create_pod(cluster).await?;
                return Ok((
                    Created::Pod(name),
                    instruction,
                    Some(instruction.max(address)),
                ));
            }
            Self::Ours(mode, client, _) => {
                let id = SandboxId::generate()?;
                let addressed = baseline::watch_address(cluster, id.as_str()).await?;
                let begun = Instant::now();
                let ((sbx, output), addressed) =
                    tokio::try_join!(create_and_run(client, *mode, &id), addressed)?;
                let took = output.duration_since(begun);
                return Ok((
                    Created::Sandbox(sbx),
                    took,
                    Some(addressed.duration_since(begun)),
                ));
            }
            Self::Kubectl => Created::Pod(peers::run_kubectl(cluster)?),
            Self::Polling(image) => Created::Pod(peers::poll(cluster, image).await?),
        };
        Ok((created, begun.elapsed(), None))
    }
}

/// Waits up to a second. A kubelet checks its containers once a second, and a start right after
/// such a check, as it follows from the end of another one, would always wait the full second.
async fn wait_a_random_time() -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    tokio::time::sleep(Duration::from_millis(u64::from(
        now.subsec_nanos() / 7 % 1000,
    )))
    .await;
    Ok(())
}

/// Creates a sandbox without limits and runs a command that its image has; returns when its output arrived.
pub(super) async fn create_and_run(
    client: &Client,
    mode: Mode,
    id: &SandboxId,
) -> Result<(Sandbox, Instant)> {
    let sbx = client.sandbox().id(id).create().await?;
    let command = match mode {
        Mode::Baked => sbx.command("/sandbox-sshd").arg("--version"),
        Mode::Inject | Mode::Upload | Mode::Image => sbx.command("echo").arg("out"),
    };
    command.output().await?.check()?;
    Ok((sbx, Instant::now()))
}
