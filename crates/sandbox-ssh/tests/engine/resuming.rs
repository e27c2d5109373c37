//! Transfers that lose their connection and are resumed, through the facade.

use std::path::Path;
use std::sync::Arc;

use sandbox::{Client, Defaults, Discarded, Sandbox, SandboxBackend, TransferReport, partial_name};
use sandbox_core::{Error, TransferReason};
use sandbox_testkit::SingleSandboxBackend;
use sandbox_testkit::faults::{Direction, FaultPlan, StreamFault};

use crate::support::contract::{pattern, reason};
use crate::support::faulty_server::FaultyServer;
use crate::support::leftovers::wait_until_unused;
use crate::support::{self, InProcessSshd};

const LENGTH: usize = 3_000_000;
/// The bytes that have passed over the connection for files when it is cut.
const CUTS: [u64; 4] = [5000, 300_000, 1_500_000, 2_900_000];

/// A sandbox whose connection for files, the second one, has this plan.
async fn sandbox(server: &FaultyServer, plan: FaultPlan) -> Sandbox {
    let (_, sessions) = server.faulty([FaultPlan::new(), plan, FaultPlan::new()]);
    let backend = Arc::new(SingleSandboxBackend::new(&server.access)) as Arc<dyn SandboxBackend>;
    let client = Client::with_parts(backend, Arc::new(sessions), Defaults::default());
    client.connect(&server.access.id).await.unwrap()
}

/// A sandbox whose connection for files is cut.
async fn cut(server: &FaultyServer, at: u64, direction: Direction) -> Sandbox {
    sandbox(
        server,
        FaultPlan::new().fail_after(at, direction, StreamFault::Reset),
    )
    .await
}

async fn good(server: &FaultyServer) -> Sandbox {
    sandbox(server, FaultPlan::new()).await
}

/// What happens between the two attempts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    Nothing,
    /// A byte of the partial file changes.
    Damage,
}

fn damage(path: &Path) {
    // The file may not exist.
    if let Ok(mut there) = std::fs::read(path)
        && let Some(byte) = there.get_mut(100)
    {
        *byte ^= 1;
        std::fs::write(path, there).unwrap();
    }
}

fn assert_lost(result: sandbox_core::Result<TransferReport>) {
    match result {
        Err(Error::Connection(_)) => {}
        other => assert_eq!(
            reason(&other.expect_err("it was cut")),
            TransferReason::Lost
        ),
    }
}

async fn an_upload(server: &FaultyServer, at: u64, between: Between) -> TransferReport {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("data");
    let data = pattern(LENGTH);
    std::fs::write(&local, &data).unwrap();
    std::fs::write(server.home.join("data"), "former").unwrap();
    assert_lost(
        cut(server, at, Direction::Write)
            .await
            .transfer()
            .resume(true)
            .upload(&local, "data")
            .await,
    );
    assert_eq!(
        std::fs::read(server.home.join("data")).unwrap(),
        b"former",
        "a partial file was taken for the whole file"
    );
    let partial = server.home.join(partial_name("data"));
    if between == Between::Damage {
        wait_until_unused(&server.home).await;
        damage(&partial);
    }
    let report = good(server)
        .await
        .transfer()
        .resume(true)
        .upload(&local, "data")
        .await
        .unwrap();
    assert!(
        std::fs::read(server.home.join("data")).unwrap() == data,
        "cut at {at}, {between:?}"
    );
    assert!(!partial.exists());
    assert_eq!(report.bytes, LENGTH as u64);
    report
}

async fn a_download(server: &FaultyServer, at: u64, between: Between) -> TransferReport {
    let directory = tempfile::tempdir().unwrap();
    let local = directory.path().join("data");
    let data = pattern(LENGTH);
    std::fs::write(server.home.join("data"), &data).unwrap();
    assert_lost(
        cut(server, at, Direction::Read)
            .await
            .transfer()
            .resume(true)
            .download("data", &local)
            .await,
    );
    assert!(
        !local.exists(),
        "a partial file was taken for the whole file"
    );
    let mut expected = data;
    if between == Between::Damage {
        // The size is the same, and perhaps the second of the change.
        damage(&server.home.join("data"));
        expected[100] ^= 1;
    }
    let report = good(server)
        .await
        .transfer()
        .resume(true)
        .download("data", &local)
        .await
        .unwrap();
    assert!(
        std::fs::read(&local).unwrap() == expected,
        "cut at {at}, {between:?}"
    );
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no other file remains"
    );
    assert_eq!(report.bytes, LENGTH as u64);
    report
}

/// Cuts at each position, with and without a change of the partial file: the result is right, and
/// verified data is not transferred again. `has_hashes`: the server can verify data.
async fn resume_after_cut_at_each(server: &FaultyServer, has_hashes: bool) {
    let (mut continued, mut changed, mut unproved) = (0, 0, 0);
    for at in CUTS {
        for between in [Between::Nothing, Between::Damage] {
            for report in [
                an_upload(server, at, between).await,
                a_download(server, at, between).await,
            ] {
                assert!(
                    between == Between::Nothing || report.resumed_at == 0,
                    "changed data was kept"
                );
                continued += usize::from(report.resumed_at > 0);
                changed += usize::from(report.discarded == Some(Discarded::Changed));
                unproved += usize::from(report.discarded == Some(Discarded::Unverified));
            }
        }
    }
    match has_hashes {
        true => assert!(
            continued >= 4 && changed >= 4 && unproved == 0,
            "{continued} {changed} {unproved}"
        ),
        false => assert!(
            continued == 0 && changed == 0 && unproved >= 8,
            "{continued} {changed} {unproved}"
        ),
    }
}

#[tokio::test]
async fn a_cut_transfer_is_resumed() {
    resume_after_cut_at_each(&FaultyServer::for_in_process(&InProcessSshd::new()), true).await;
}

#[tokio::test]
async fn a_cut_transfer_is_resumed_with_openssh() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    resume_after_cut_at_each(&FaultyServer::for_daemon(&sshd), true).await;
}

/// Without a hash no data is verified: the transfer starts over, and reports the reason.
#[tokio::test]
async fn a_cut_transfer_starts_over_without_hashes() {
    let programs = tempfile::tempdir().unwrap();
    for name in ["sh", "head", "tail"] {
        let program = sandbox_testkit::peers::find_program(name).unwrap();
        std::os::unix::fs::symlink(program, programs.path().join(name)).unwrap();
    }
    let path = format!("SetEnv PATH={}", programs.path().display());
    let Some(sshd) = support::openssh::start(&[path.as_str()]) else {
        return;
    };
    resume_after_cut_at_each(&FaultyServer::for_daemon(&sshd), false).await;
}
