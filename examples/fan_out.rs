//! Fifty sandboxes at once, each with its own task: `cargo run --example fan_out`.

use std::time::Instant;

use sandbox::prelude::*;
use tokio::task::JoinSet;

const SANDBOXES: u64 = 50;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    // All tasks use one client. It is cheap to clone, and clones share the cache and the
    // connections.
    let client = Client::from_env().await?;
    let started = Instant::now();
    let mut work = JoinSet::new();
    for part_number in 0..SANDBOXES {
        let client = client.clone();
        work.spawn(async move {
            // Deletes the sandbox whether the work succeeds or fails. Dropping the JoinSet deletes
            // all sandboxes.
            let builder = client.sandbox().label("example", "fan-out").memory("64Mi");
            client
                .scoped(builder, |sbx| async move {
                    let from = part_number * 1000;
                    let to = (part_number + 1) * 1000;
                    let sum = format!(
                        "n={from}; s=0; while [ $n -lt {to} ]; do s=$((s + n)); n=$((n + 1)); done; echo $s"
                    );
                    let out = sbx.shell(sum).output().await?.check()?;
                    let text = out.stdout_lossy();
                    text.trim().parse::<u64>().map_err(|why| {
                        Error::invalid(
                            "output of the sandbox",
                            text.trim(),
                            format!("use a number: {why}"),
                        )
                    })
                })
                .await
        });
    }
    let mut sum = 0;
    let mut failed = 0;
    while let Some(done) = work.join_next().await {
        match done {
            Ok(Ok(part)) => sum += part,
            Ok(Err(error)) => {
                failed += 1;
                eprintln!("{error}");
            }
            Err(panic) => eprintln!("{panic}"),
        }
    }
    let all = SANDBOXES * 1000;
    println!(
        "the sum of the numbers below {all} is {sum}, and should be {}",
        all * (all - 1) / 2
    );
    println!(
        "{SANDBOXES} sandboxes in {:.2} s, {failed} failed",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
