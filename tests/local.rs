//! The conformance suite on the local backend, and tests of this backend alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod killed_pool;
#[allow(dead_code, reason = "the other test programs use the rest")]
mod support;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Conclusion, Trial};
use sandbox::{ConnectionStage, Defaults, Error, TransferReason};
use sandbox_conformance::{Outcome, TestedBackend};
use sandbox_testkit::peers;
use support::{local_client, local_parts};

fn main() -> ExitCode {
    sandbox::local::init();
    if let Some(state_dir) = std::env::var_os(killed_pool::STATE_DIR_VARIABLE) {
        return killed_pool::run_pool(Path::new(&state_dir));
    }
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let state_dir = tempfile::tempdir().expect("a directory");
    let path = state_dir.path().to_owned();
    let backend = TestedBackend::new(move |defaults| local_client(&path, defaults));

    let mut trials = sandbox_conformance::trials(&backend, runtime.handle());
    let mut add = |name: &'static str, run: fn(TestedBackend, PathBuf) -> Running| {
        let backend = backend.clone();
        let path = state_dir.path().to_owned();
        let handle = runtime.handle().clone();
        trials.push(Trial::test(name, move || {
            handle
                .block_on(run(backend, path))
                .map_err(|error| error.to_string().into())
        }));
    };
    add("local::an_image_is_refused", |backend, _| {
        Box::pin(an_image_is_refused(backend))
    });
    add("local::a_full_disk_is_reported", |backend, _| {
        Box::pin(a_full_disk_is_reported(backend))
    });
    add("local::a_wrong_host_key_is_refused", |_, state_dir| {
        Box::pin(a_wrong_key_is_refused(state_dir, WrongKey::Host))
    });
    add("local::a_wrong_client_key_is_refused", |_, state_dir| {
        Box::pin(a_wrong_key_is_refused(state_dir, WrongKey::Client))
    });
    add("local::a_killed_pool_leaves_nothing", |backend, path| {
        Box::pin(killed_pool::a_killed_pool_leaves_nothing(backend, path))
    });
    let alone = sandbox_conformance::ALONE;
    let conclusions = sandbox_testkit::run_trials(&arguments, trials, alone);

    let left = remaining_records(state_dir.path());
    if !left.is_empty() {
        eprintln!("left behind: {left:?}");
        return ExitCode::FAILURE;
    }
    if conclusions.iter().any(Conclusion::has_failed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// The directories of sandboxes that were not deleted.
fn remaining_records(state_dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(state_dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join("record.json").exists())
        .collect()
}

type Running = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

async fn an_image_is_refused(tested: TestedBackend) -> Outcome {
    let error = tested
        .sandbox()
        .image("python:3.12-slim")
        .create()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(
        error.to_string().contains("k8s") || error.to_string().contains("Kubernetes"),
        "{error}"
    );
    Ok(())
}

async fn a_full_disk_is_reported(tested: TestedBackend) -> Outcome {
    if !tested.capabilities().limits.disk {
        peers::skip("disk", "needs a system that can limit a sandbox's disk");
        return Ok(());
    }
    let sbx = tested.sandbox().disk("8Mi").create().await?;
    match sbx.files().write("large", vec![1; 16 << 20]).await {
        Err(Error::Transfer(error)) => assert_eq!(error.reason, TransferReason::NoSpace, "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(!sbx.files().exists("large").await?);
    sbx.files().write("small", "still works").await?;
    sbx.delete().await?;
    Ok(())
}

enum WrongKey {
    Host,
    Client,
}

async fn a_wrong_key_is_refused(state_dir: PathBuf, wrong: WrongKey) -> Outcome {
    let sbx = local_client(&state_dir, Defaults::default())
        .sandbox()
        .create()
        .await?;
    let (backend, sessions) = local_parts(&state_dir);
    let mut access = backend.access(sbx.id()).await?;
    let other_keys = sandbox::KeyPair::generate()?;
    let expected = match wrong {
        WrongKey::Host => {
            access.host_key = other_keys.public;
            ConnectionStage::HostKey
        }
        WrongKey::Client => {
            access.client_key = other_keys.private;
            ConnectionStage::Auth
        }
    };
    let deadline = sandbox::Deadline::from_now(Duration::from_secs(20));
    let started = Instant::now();
    match sessions.session(Arc::new(access), deadline).await {
        Err(Error::Connection(error)) => assert_eq!(error.stage, expected, "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "a wrong key is not retried"
    );
    sbx.delete().await?;
    Ok(())
}
