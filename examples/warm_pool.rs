//! Sandboxes that are ready before they are needed: `cargo run --example warm_pool`.

use std::time::{Duration, Instant};

use sandbox::prelude::*;
use sandbox::{ExecRequest, OnEmpty};

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    // The initial command runs while the sandbox waits.
    let prepare = ExecRequest::from_shell("echo 'the data' > data");
    let pool = client
        .pool(client.sandbox().label("example", "warm-pool").init(prepare))
        .size(3)
        .on_empty(OnEmpty::Wait(Duration::from_secs(60)))
        .start()?;
    pool.filled().await;
    println!("{} sandboxes wait", pool.status().waiting);

    for request in 1..=5 {
        let start = Instant::now();
        let sbx = pool
            .take()
            .secret_env("REQUEST", request.to_string())
            .await?;
        let out = sbx
            .shell("echo \"request $REQUEST reads $(cat data)\"")
            .output()
            .await?
            .check()?;
        print!(
            "{:>5.1} ms: {}",
            start.elapsed().as_secs_f64() * 1000.0,
            out.stdout_lossy()
        );
        sbx.delete().await?; // a used sandbox never returns to the pool
    }
    let status = pool.status();
    println!(
        "{} takes found a sandbox waiting, {} did not",
        status.hits, status.misses
    );
    pool.close().await
}
