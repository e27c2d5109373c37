//! A program with a pool is killed: what it created ends by itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sandbox::{Defaults, ListFilter};
use sandbox_conformance::{Outcome, TestedBackend};

use crate::support::local_client;

/// Names the state directory to the process that the test kills.
pub(crate) const STATE_DIR_VARIABLE: &str = "SANDBOX_TEST_POOL_STATE";
const SIZE: usize = 6;
const ATTACH_TIMEOUT: Duration = Duration::from_secs(3);

/// The main function of the process that the test kills: it takes sandboxes from a pool, and keeps the first of them.
pub(crate) fn run_pool(state_dir: &Path) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended: Outcome = runtime.block_on(async {
        let mut defaults = Defaults::default();
        defaults.lifetime.attach_timeout = Some(ATTACH_TIMEOUT);
        let client = local_client(state_dir, defaults);
        let pool = client.pool(client.sandbox()).size(SIZE).start()?;
        println!("filling");
        pool.filled().await;
        println!("filled");
        let first = pool.take().await?;
        println!("taken");
        loop {
            pool.take().await?.delete().await?;
            first.command("true").output().await?.check()?;
        }
    });
    eprintln!("{ended:?}");
    ExitCode::FAILURE
}

/// Kills the program in the middle of its first creations, once they wait, and while takes and creations overlap.
pub(crate) async fn a_killed_pool_leaves_nothing(_: TestedBackend, _: PathBuf) -> Outcome {
    for (line, delay) in [
        ("filling", 30),
        ("filling", 200),
        ("filled", 0),
        ("taken", 100),
    ] {
        let state_dir = tempfile::tempdir()?;
        let path = state_dir.path().to_owned();
        let client = local_client(state_dir.path(), Defaults::default());
        tokio::task::spawn_blocking(move || {
            let mut program = start(&path)?;
            let mut lines = BufReader::new(program.stdout.take().ok_or("no output")?).lines();
            let reached = lines
                .by_ref()
                .map_while(Result::ok)
                .any(|other| other == line);
            std::thread::sleep(Duration::from_millis(delay));
            let ended = program.try_wait()?;
            program.kill()?;
            program.wait()?;
            assert!(reached && ended.is_none(), "it failed: {ended:?}");
            Outcome::Ok(())
        })
        .await??;
        let killed = Instant::now();
        loop {
            let left = client.list(ListFilter::default()).await?;
            let left: Vec<_> = left.iter().filter(|info| info.end.is_none()).collect();
            if left.is_empty() {
                break;
            }
            // Some seconds more, for a busy machine.
            let limit = ATTACH_TIMEOUT + Duration::from_secs(20);
            assert!(killed.elapsed() < limit, "{line} {delay}: {left:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}

fn start(state_dir: &Path) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .env(STATE_DIR_VARIABLE, state_dir)
        .stdout(Stdio::piped())
        .spawn()
}
