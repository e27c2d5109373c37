//! Times takes from a pool next to cold creations: one by one, and many at once.

mod published;
mod shared;
mod source;

use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::future::join_all;
use sandbox::{Client, Sandbox, SandboxBuilder};

use self::source::Source;
use super::deletions::Deletions;
use super::figures::{Figures, table};

/// How many sandboxes are taken one by one.
const TAKES: usize = 200;
/// How many are taken without a pause. Then the pool is filled again.
const BATCH: usize = 25;
/// How many are taken at once.
const BURST: usize = 100;
/// How many are created without a pool: so many before each batch.
const COLD_PER_BATCH: usize = 4;

const COLD: &str = "a cold creation";

/// Times the local backend.
pub(crate) fn run() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let client = Client::from_env().await?;
            measure(&client, &client.sandbox(), &[], "local").await?;
            published::print();
            Ok(())
        })
}

/// What one way to get a sandbox took, to the first output of a command.
struct Row {
    name: String,
    figures: Figures,
    hit_rate: Option<f64>,
}

impl Row {
    /// Prints the median and what is far from it at once: all rows of a cluster take half an hour.
    fn announce(self) -> Self {
        let (name, median, last) = (
            &self.name,
            self.figures.quantile(0.5),
            self.figures.quantile(1.0),
        );
        eprintln!("{name}: {median:.2} ms median, {last:.2} ms at most");
        for (number, took) in self.figures.outliers() {
            eprintln!("    the {number}th took {took:.0} ms");
        }
        self
    }
}

/// Times pools of these sandboxes. `claimers` are clients that claim from a pool that `client` fills; without one, no
/// pool is shared. `over` names the backend and the route.
pub(super) async fn measure(
    client: &Client,
    sandboxes: &SandboxBuilder,
    claimers: &[Client],
    over: &str,
) -> Result<()> {
    eprintln!("bench pool, {over}: {TAKES} takes, then {BURST} at once");
    let mut cold = Figures::default();
    let mut rows = Vec::new();
    for labelled in [false, true] {
        rows.push(
            take_one_by_one(client, sandboxes, labelled, &mut cold)
                .await?
                .announce(),
        );
    }
    rows.push(take_at_once(client, sandboxes).await?.announce());
    let last_of_burst = rows.last().map(|burst| burst.figures.quantile(1.0));
    if !claimers.is_empty() {
        rows.extend(shared::measure(client, sandboxes, claimers, (TAKES, BATCH)).await?);
    }
    let mut lines = vec![(COLD, Some(&cold))];
    lines.extend(
        rows.iter()
            .map(|row| (row.name.as_str(), Some(&row.figures))),
    );
    table(
        &format!("From a take to the first output, {over}"),
        COLD,
        &lines,
    );
    println!();
    for row in &rows {
        if let Some(hits) = row.hit_rate {
            let hits = hits * 100.0;
            println!("* {}: {hits:.1} % of the takes found one waiting", row.name);
        }
    }
    if let Some(last) = last_of_burst {
        println!("* all of the {BURST} at once had their output after {last:.0} ms");
    }
    Ok(())
}

/// Times only the pool that the claimers share.
#[cfg(feature = "bench-k8s")]
pub(super) async fn measure_shared(
    client: &Client,
    sandboxes: &SandboxBuilder,
    claimers: &[Client],
    over: &str,
) -> Result<()> {
    let rows = shared::measure(client, sandboxes, claimers, (TAKES, BATCH)).await?;
    let lines: Vec<_> = rows
        .iter()
        .map(|row| (row.name.as_str(), Some(&row.figures)))
        .collect();
    let first = lines.first().map_or(COLD, |(name, _)| name);
    table(
        &format!("From a take to the first output, {over}"),
        first,
        &lines,
    );
    Ok(())
}

/// Takes one after another while the pool refills. Before each batch the pool is full, and some
/// sandboxes are created without it.
async fn take_one_by_one(
    client: &Client,
    sandboxes: &SandboxBuilder,
    labelled: bool,
    cold: &mut Figures,
) -> Result<Row> {
    let source = Source::start(client, sandboxes, BATCH, labelled)?;
    let mut figures = Figures::default();
    let mut deletions = Deletions::default();
    let outcome = async {
        while figures.len() < TAKES {
            source.wait_until_full().await?;
            let mut used = Vec::new();
            for _ in 0..COLD_PER_BATCH {
                used.push(time(cold, source.create()).await?);
            }
            for _ in 0..BATCH {
                used.push(time(&mut figures, source.take()).await?);
            }
            deletions.start(used);
        }
        Ok(Row {
            name: source.name().to_owned(),
            figures,
            hit_rate: source.hit_rate(),
        })
    }
    .await;
    source.close().await?;
    deletions.finish().await?;
    outcome
}

/// Takes many at once, as many as wait.
async fn take_at_once(client: &Client, sandboxes: &SandboxBuilder) -> Result<Row> {
    let source = Source::start(client, sandboxes, BURST, false)?;
    source.wait_until_full().await?;
    let start = Instant::now();
    let taken = join_all((0..BURST).map(|_| async {
        let sbx = source.take().await?;
        print_something(&sbx).await?;
        Ok::<_, anyhow::Error>((sbx, Instant::now()))
    }))
    .await;
    let hit_rate = source.hit_rate();
    source.close().await?;
    let mut figures = Figures::default();
    let mut deletions = Deletions::default();
    for outcome in taken {
        let (sbx, until) = outcome?;
        figures.add_duration(until.duration_since(start));
        deletions.start([sbx]);
    }
    deletions.finish().await?;
    Ok(Row {
        name: format!("{}, {BURST} at once", source.name()),
        figures,
        hit_rate,
    })
}

/// Times how long it takes to get a sandbox and the first output of a command in it.
async fn time(
    figures: &mut Figures,
    get: impl Future<Output = Result<Sandbox>>,
) -> Result<Sandbox> {
    let start = Instant::now();
    let sbx = get.await?;
    print_something(&sbx).await?;
    figures.add(start);
    Ok(sbx)
}

/// Runs a command that prints a word.
async fn print_something(sbx: &Sandbox) -> Result<()> {
    let output = sbx.command("echo").arg("out").output().await?.check()?;
    ensure!(
        output.stdout_lossy() == "out\n",
        "`echo` printed something else"
    );
    Ok(())
}
