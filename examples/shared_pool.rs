//! A pool that processes share, on a cluster. In one terminal:
//! `SANDBOX_BACKEND=k8s cargo run --features k8s --example shared_pool -- fill`, in others the same with `claim`.

use std::time::Instant;

use sandbox::prelude::*;
use sandbox::{FillerStatus, SharedPool};

const POOL: &str = "example";

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_env().await?;
    match std::env::args().nth(1).as_deref() {
        Some("fill") => fill(&client).await,
        Some("claim") => claim(&client).await,
        _ => {
            eprintln!("usage: shared_pool fill | claim");
            Ok(())
        }
    }
}

/// Fills the pool until Ctrl-C. Of several such processes, one fills and the others stand by.
async fn fill(client: &Client) -> Result<()> {
    let sandboxes = client.sandbox().label("example", "shared-pool");
    let pool = client.shared_pool(POOL, sandboxes).sizes(2..=8);
    let filler = pool.start().await?;
    tokio::select! {
        () = report(&filler) => {}
        _signal = tokio::signal::ctrl_c() => {}
    }
    filler.stop().await; // what waits stays, for the next filler, or for claimers within a minute
    Ok(())
}

async fn report(filler: &SharedPool) {
    let mut changes = filler.changes();
    while changes.changed().await.is_ok() {
        let FillerStatus {
            waiting, filling, ..
        } = changes.borrow_and_update().clone();
        println!("{waiting} waiting, {filling} being created");
    }
}

/// Takes a sandbox, uses it and deletes it. From the claim on only this process can enter it.
async fn claim(client: &Client) -> Result<()> {
    let start = Instant::now();
    let sbx = client
        .sandbox()
        .from_pool(POOL)
        .env("GREETING", "hello")
        .create()
        .await?;
    let out = sbx.shell("echo $GREETING").output().await?.check()?;
    let elapsed = start.elapsed().as_secs_f64() * 1000.0;
    print!("{elapsed:>5.1} ms, {}: {}", sbx.id(), out.stdout_lossy());
    sbx.delete().await // a used sandbox never returns to the pool
}
