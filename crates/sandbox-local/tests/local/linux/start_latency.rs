//! Measures how long a sandbox takes: `cargo test --release -p sandbox-local --test local -- measure 50`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sandbox_core::{DeleteOptions, SandboxBackend};

use super::support::{Result, Shell, World};

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let count = arguments
        .first()
        .and_then(|count| count.parse().ok())
        .unwrap_or(20);
    let measured = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(measure(count)));
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(count: usize) -> Result {
    let world = World::with_options(|options| options.read_only_paths.clear())?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    for _ in 0..count {
        let start = Instant::now();
        let info = world.create().await?;
        times[0].push(start.elapsed());
        let shell = Shell::open(&world.backend.access(&info.id).await?).await?;
        times[1].push(start.elapsed());
        shell.run("echo first").await?;
        times[2].push(start.elapsed());
        let start = Instant::now();
        world
            .backend
            .delete(&info.id, DeleteOptions::default())
            .await?;
        times[3].push(start.elapsed());
    }
    for (name, mut times) in [
        "create to listening",
        "create to session",
        "create to first output",
        "delete",
    ]
    .into_iter()
    .zip(times)
    {
        times.sort();
        println!(
            "{name:24} median {:8.2?}  worst {:8.2?}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }
    Ok(())
}
