//! The conformance list on this machine, and what only this backend has.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use sandbox::{
    Client, ConnectionStage, Defaults, Error, SandboxBackend, SessionSource, TransferReason,
};
use sandbox_conformance::{Outcome, TestedBackend};
use sandbox_testkit::peers;

/// libtest's `main` is not ours, so this one begins as every program with local sandboxes does.
fn main() -> std::process::ExitCode {
    sandbox::local::init();
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let state = tempfile::tempdir().expect("a directory");
    let path = state.path().to_owned();
    let tested = TestedBackend::new(move |defaults| client(&path, defaults));

    let mut trials = sandbox_conformance::trials(&tested, runtime.handle());
    let mut own = |name: &'static str, run: fn(TestedBackend, PathBuf) -> Running| {
        let (tested, path, handle) = (
            tested.clone(),
            state.path().to_owned(),
            runtime.handle().clone(),
        );
        trials.push(Trial::test(name, move || {
            handle
                .block_on(run(tested, path))
                .map_err(|error| error.to_string().into())
        }));
    };
    own("local::an_image_is_refused", |tested, _| {
        Box::pin(an_image_is_refused(tested))
    });
    own("local::a_full_disk_inside_is_told", |tested, _| {
        Box::pin(a_full_disk_inside_is_told(tested))
    });
    own("local::a_wrong_host_key_is_refused", |_, state| {
        Box::pin(wrong_key(state, WrongKey::Host))
    });
    own("local::a_wrong_user_key_is_refused", |_, state| {
        Box::pin(wrong_key(state, WrongKey::User))
    });
    let conclusion = libtest_mimic::run(&arguments, trials);

    let left = std::fs::read_dir(state.path()).map(|entries| {
        entries
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    });
    let left: Vec<PathBuf> = left
        .unwrap_or_default()
        .into_iter()
        .filter(|path| path.join("record.json").exists())
        .collect();
    if !left.is_empty() {
        eprintln!("left behind: {left:?}");
        return std::process::ExitCode::FAILURE;
    }
    conclusion.exit_code()
}

type Running = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

fn parts(state: &Path) -> (Arc<dyn SandboxBackend>, Arc<dyn SessionSource>) {
    let mut options = sandbox_local::LocalOptions::default();
    options.state_dir = Some(state.to_owned());
    let backend = sandbox_local::LocalBackend::new(options).expect("a backend");
    let connector = Arc::new(sandbox_local::UnixConnector::new());
    (
        Arc::new(backend),
        Arc::new(sandbox_ssh::SshSessions::new(
            connector,
            sandbox_ssh::SshOptions::default(),
        )),
    )
}

fn client(state: &Path, defaults: Defaults) -> Client {
    let (backend, sessions) = parts(state);
    Client::with_parts(backend, sessions, defaults)
}

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

async fn a_full_disk_inside_is_told(tested: TestedBackend) -> Outcome {
    if !tested.capabilities().limits.disk {
        peers::skip(
            "disk",
            "needs a system where a sandbox's disk can be limited",
        );
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
    User,
}

async fn wrong_key(state: PathBuf, which: WrongKey) -> Outcome {
    let sbx = client(&state, Defaults::default())
        .sandbox()
        .create()
        .await?;
    let (backend, sessions) = parts(&state);
    let mut access = backend.access(sbx.id()).await?;
    let other = sandbox::KeyPair::generate()?;
    let expected = match which {
        WrongKey::Host => {
            access.host_key = other.public;
            ConnectionStage::HostKey
        }
        WrongKey::User => {
            access.client_key = other.private;
            ConnectionStage::Auth
        }
    };
    let deadline = sandbox::Deadline::from_now(std::time::Duration::from_secs(20));
    let began = std::time::Instant::now();
    match sessions.session(Arc::new(access), deadline).await {
        Err(Error::Connection(error)) => assert_eq!(error.stage, expected, "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(
        began.elapsed() < std::time::Duration::from_secs(10),
        "it is final at once"
    );
    sbx.delete().await?;
    Ok(())
}
