//! A process is killed while it creates sandboxes: these end by themselves or are swept.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use sandbox::{SandboxBackend, SweepOptions};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;

use crate::cluster::{
    Namespace, admin_backend, api, client_for, defaults, managed_objects, namespace, options,
};
use crate::skewed_clock_client::skew_clock;

cases![a_killed_creator_leaves_nothing_after_a_sweep];

/// Set for the process that the test kills.
pub(crate) const CREATOR_VARIABLE: &str = "SANDBOX_TEST_MAKER";
/// The attach timeout of the sandboxes. On a busy node some seconds pass before the first connection.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(15);
/// More than the grace of a Secret without a Pod.
const CLOCK_SKEW: Duration = Duration::from_secs(660);

/// The main function of the process that the test kills: it creates one sandbox after another.
pub(crate) fn create_endlessly() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended: Outcome = runtime.block_on(async {
        let _namespace = Namespace::begin().await?;
        let mut defaults = defaults();
        defaults.lifetime.attach_timeout = Some(ATTACH_TIMEOUT);
        let client = client_for(admin_backend(options()).await?, defaults);
        println!("started");
        loop {
            client
                .sandbox()
                .create()
                .await?
                .command("true")
                .output()
                .await?;
        }
    });
    eprintln!("{ended:?}");
    ExitCode::FAILURE
}

async fn a_killed_creator_leaves_nothing_after_a_sweep(_: TestedBackend) -> Outcome {
    for millis in [0, 10, 30, 60, 120, 500, 1500] {
        tokio::task::spawn_blocking(move || kill_after(Duration::from_millis(millis))).await??;
    }
    // Each sandbox ends without its client. The client's view of the clock is moved ahead, because
    // a sweep leaves a Secret without a Pod for ten minutes.
    let gc = KubernetesBackend::new(skew_clock(api().await?, CLOCK_SKEW), options());
    let mut left = managed_objects(&api().await?, namespace()).await?;
    assert!(!left.is_empty(), "no process was killed during a creation");
    for _ in 0..480 {
        gc.sweep(SweepOptions::default()).await?;
        left = managed_objects(&api().await?, namespace()).await?;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(format!("left after the sweep: {left:?}").into())
}

fn kill_after(delay: Duration) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(CREATOR_VARIABLE, "1")
        .env("SANDBOX_TEST_NAMESPACE", namespace())
        .stdout(Stdio::piped());
    let mut creator = command.spawn()?;
    let mut line = String::new();
    BufReader::new(creator.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    std::thread::sleep(delay);
    let ended = creator.try_wait()?;
    creator.kill()?;
    creator.wait()?;
    assert!(
        line == "started\n" && ended.is_none(),
        "the process failed: {ended:?}"
    );
    Ok(())
}
