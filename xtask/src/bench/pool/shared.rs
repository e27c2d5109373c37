//! Times claims from a pool that processes share: one by one, and by several claimers at once.

use std::time::Instant;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use sandbox::{Client, Sandbox, SandboxBuilder, SharedPool};

use super::{Row, print_something, time};
use crate::bench::deletions::Deletions;
use crate::bench::figures::Figures;
use crate::bench::load::{Load, Worked};

const NAME: &str = "bench";

/// Claims as many one by one as `takes`, and then as many again with all claimers at once. Each claimer shares nothing
/// with the others, as a process of its own.
pub(super) async fn measure(
    filler: &Client,
    sandboxes: &SandboxBuilder,
    claimers: &[Client],
    (takes, batch): (usize, usize),
) -> Result<Vec<Row>> {
    let size = batch.max(claimers.len());
    let pool = filler
        .shared_pool(NAME, sandboxes.clone())
        .size(size)
        .start()
        .await?;
    let outcome = async {
        let one_by_one = claim_one_by_one(&pool, claimers, takes, batch)
            .await?
            .announce();
        let at_once = claim_at_once(&pool, claimers, takes).await?.announce();
        Ok(vec![one_by_one, at_once])
    }
    .await;
    pool.stop().await;
    filler
        .remove_pool(&NAME.parse()?)
        .await
        .context("cannot remove the pool")?;
    outcome
}

async fn claim_one_by_one(
    pool: &SharedPool,
    claimers: &[Client],
    takes: usize,
    batch: usize,
) -> Result<Row> {
    let claimer = claimers.first().context("no claimer")?;
    let mut figures = Figures::default();
    let mut deletions = Deletions::default();
    let mut loads = Vec::new();
    while figures.len() < takes {
        pool.filled().await;
        let mut used = Vec::new();
        let load = Load::begin()?;
        for _ in 0..batch {
            used.push(time(&mut figures, claim(claimer)).await?);
        }
        loads.push(load.end()?);
        deletions.start(used);
    }
    deletions.finish().await?;
    let all = Worked::sum(&loads);
    eprintln!("{} batches of {batch} claims: {all}", loads.len());
    Ok(Row {
        name: "a pool that processes share".to_owned(),
        figures,
        hit_rate: None,
    })
}

/// Every claimer claims one at the same moment, again and again.
async fn claim_at_once(pool: &SharedPool, claimers: &[Client], takes: usize) -> Result<Row> {
    let mut figures = Figures::default();
    let mut deletions = Deletions::default();
    let mut loads = Vec::new();
    while figures.len() < takes {
        pool.filled().await;
        let load = Load::begin()?;
        let start = Instant::now();
        let claimed = join_all(claimers.iter().map(async |claimer| {
            let sbx = claim(claimer).await?;
            print_something(&sbx).await?;
            Ok::<_, anyhow::Error>((sbx, Instant::now()))
        }))
        .await;
        loads.push(load.end()?);
        for outcome in claimed {
            let (sbx, until) = outcome?;
            figures.add_duration(until.duration_since(start));
            deletions.start([sbx]);
        }
    }
    deletions.finish().await?;
    let (count, all) = (claimers.len(), Worked::sum(&loads));
    eprintln!("{} rounds of {count} claims: {all}", loads.len());
    Ok(Row {
        name: format!(
            "a pool that processes share, {} claimers at once",
            claimers.len()
        ),
        figures,
        hit_rate: None,
    })
}

async fn claim(claimer: &Client) -> Result<Sandbox> {
    let claimed = claimer.sandbox().from_pool(NAME).create().await;
    claimed.context("cannot claim a sandbox")
}
