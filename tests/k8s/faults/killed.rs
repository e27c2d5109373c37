//! The maker of sandboxes is killed in the middle of it: what it left goes by itself, or by gc.

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

cases![a_killed_maker_leaves_nothing_after_gc];

/// Set for the process that is to be killed.
pub(crate) const MAKER: &str = "SANDBOX_TEST_MAKER";
/// Without a client sandboxes end after so long, here.
const ATTACHED: Duration = Duration::from_secs(2);
/// More than a Secret without a Pod is left alone for.
const LATER: Duration = Duration::from_secs(660);

/// What this program does when it is started as the maker: a sandbox and another, until it is
/// killed.
pub(crate) fn create_for_ever() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let ended: Outcome = runtime.block_on(async {
        let _namespace = Namespace::begin().await?;
        let mut defaults = defaults();
        defaults.lifetime.attach_timeout = Some(ATTACHED);
        let client = client_for(admin_backend(options()).await?, defaults);
        println!("begun");
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

async fn a_killed_maker_leaves_nothing_after_gc(_: TestedBackend) -> Outcome {
    for patience in [0, 10, 30, 60, 120, 500, 1500] {
        tokio::task::spawn_blocking(move || kill_after(Duration::from_millis(patience))).await??;
    }
    // Each sandbox ends without its client; the API server's clock is put ahead, for a Secret
    // whose Pod was never made is left alone for ten minutes.
    let gc = KubernetesBackend::new(skew_clock(api().await?, LATER), options());
    let mut left = managed_objects(&api().await?, namespace()).await?;
    assert!(
        !left.is_empty(),
        "no maker was killed in the middle of anything"
    );
    for _ in 0..240 {
        gc.sweep(SweepOptions::default()).await?;
        left = managed_objects(&api().await?, namespace()).await?;
        if left.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Err(format!("left after gc: {left:?}").into())
}

fn kill_after(patience: Duration) -> Outcome {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .env(MAKER, "1")
        .env("SANDBOX_TEST_NAMESPACE", namespace())
        .stdout(Stdio::piped());
    let mut maker = command.spawn()?;
    let mut line = String::new();
    BufReader::new(maker.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    std::thread::sleep(patience);
    let ended = maker.try_wait()?;
    maker.kill()?;
    maker.wait()?;
    assert!(
        line == "begun\n" && ended.is_none(),
        "the maker failed: {ended:?}"
    );
    Ok(())
}
