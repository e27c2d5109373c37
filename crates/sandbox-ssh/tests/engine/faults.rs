//! Connections that fall silent at any byte, and transfers that are cut at any byte.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    CommandCause, DownloadRequest, Error, ExecEvent, ExecRequest, ExitStatus, TransferReason,
    UploadRequest,
};
use sandbox_ssh::SshOptions;
use sandbox_testkit::faults::{Direction, FaultPlan, StreamFault};
use tokio::io::AsyncWriteExt;

use crate::support::contract::{get, pattern, put, sh};
use crate::support::faulty_server::FaultyServer;
use crate::support::run_counter::{count_runs, cut_positions, measure_lengths, run_counted};
use crate::support::{self, InProcessSshd};

const CAP: usize = 1 << 20;
/// Longer than any call takes; a call that hangs fails after it.
const LONG: Duration = Duration::from_secs(120);

/// Such a command ends only by an answer of the server, which must not be assumed.
#[tokio::test]
async fn a_cut_while_a_background_process_holds_the_output_open() {
    let sshd = InProcessSshd::new();
    let line = "echo begun; sleep 30 & exit 5";
    let (connector, sessions) = sshd.faulty([]);
    let session = support::session(&sessions, &sshd.access).await;
    let before = connector.switches()[0].byte_count(Direction::Read);
    sh(&session, "sleep 30 & true").await;
    let after = connector.switches()[0].byte_count(Direction::Read);
    let cuts = (before..after + 60).step_by(9).map(|position| {
        let sshd = sshd.clone();
        async move {
            let plan = FaultPlan::new().fail_after(position, Direction::Read, StreamFault::Reset);
            let (_, sessions) = sshd.faulty([plan, FaultPlan::new()]);
            let session = support::session(&sessions, &sshd.access).await;
            match session.output(ExecRequest::from_shell(line), CAP).await {
                Ok(output) => {
                    assert_eq!(
                        (output.status.code(), output.stdout_lossy().as_str()),
                        (Some(5), "begun\n")
                    );
                }
                Err(error) => assert!(
                    matches!(
                        error,
                        Error::Command {
                            cause: CommandCause::Lost,
                            ..
                        } | Error::Connection(_)
                    ),
                    "{error:?}"
                ),
            }
        }
    });
    futures_util::future::join_all(cuts).await;
}

/// Every connection falls silent at the same byte, from its greeting on.
#[tokio::test]
async fn a_server_that_falls_silent_at_any_byte() {
    let sshd = InProcessSshd::new();
    let server = FaultyServer::for_in_process(&sshd);
    let lengths = measure_lengths(&server, Direction::Read).await;
    let mut options = SshOptions::default();
    options.connect_timeout = Duration::from_millis(400);
    options.channel_timeout = Duration::from_secs(1);
    options.silence_timeout = Duration::from_millis(150);
    options.checkout_timeout = Duration::from_secs(1);
    options.keepalive_interval = Duration::from_secs(1);
    let rounds = cut_positions(&lengths, 97, 11).map(|position| {
        let sshd = sshd.clone();
        let options = options.clone();
        async move {
            let fault = if position % 2 == 0 {
                StreamFault::Stall
            } else {
                StreamFault::Discard
            };
            let plan = FaultPlan::new().fail_after(position, Direction::Read, fault);
            let (_, sessions) = sshd.faulty_with([plan], options);
            let name = format!("silent-{position}");
            let work = async {
                let deadline = sandbox_core::Deadline::from_now(Duration::from_secs(1));
                let session = sandbox_core::SessionSource::session(
                    &sessions,
                    Arc::clone(&sshd.access),
                    deadline,
                )
                .await?;
                run_counted(&session, &name, false).await
            };
            match tokio::time::timeout(LONG, work)
                .await
                .expect("a call hangs")
            {
                Ok(output) => assert_eq!(output.status, ExitStatus::Code(7)),
                Err(
                    Error::Command {
                        cause: CommandCause::Lost,
                        ..
                    }
                    | Error::Connection(_)
                    | Error::Timeout { .. },
                ) => {}
                Err(error) => panic!("{position}: {error:?}"),
            }
            assert!(count_runs(sshd.home.path(), &name) <= 1);
        }
    });
    futures_util::future::join_all(rounds).await;
}

#[tokio::test]
async fn split_packets_are_reassembled() {
    let sshd = InProcessSshd::new();
    let (_, sessions) = sshd.faulty((1..9).map(|seed| FaultPlan::new().with_short_transfers(seed)));
    let session = support::session(&sessions, &sshd.access).await;
    support::contract::input_is_read_to_its_end(&session).await;
    support::contract::files_are_uploaded_and_downloaded(&session).await;
}

#[tokio::test]
async fn a_transfer_that_is_cut_anywhere_leaves_the_former_file_or_the_new_one() {
    let sshd = InProcessSshd::new();
    let former = pattern(1000);
    let new = pattern(150_000);
    for round in 0..40_u64 {
        put(&sshd.session().await, "file", &former).await;
        let direction = if round % 2 == 0 {
            Direction::Write
        } else {
            Direction::Read
        };
        let position = match direction {
            Direction::Write => 1000 + round * 4100,
            Direction::Read => 1000 + round * 70,
        };
        let (_, sessions) = sshd.faulty([
            FaultPlan::new(),
            FaultPlan::new().fail_after(position, direction, StreamFault::Reset),
            FaultPlan::new(),
        ]);
        let session = support::session(&sessions, &sshd.access).await;
        let from = Box::new(std::io::Cursor::new(new.clone()));
        let uploaded = session.upload(UploadRequest::new("file"), from).await;
        let there = get(&sshd.session().await, "file").await.unwrap();
        match uploaded {
            Ok(length) => assert!(length == new.len() as u64 && there == new),
            Err(Error::Transfer(error)) => {
                assert_eq!(error.reason, TransferReason::Lost, "{error}");
                assert!(
                    there == former || there == new,
                    "neither, but {} bytes",
                    there.len()
                );
            }
            Err(error) => assert!(matches!(error, Error::Connection(_)), "{error:?}"),
        }
        // The cleanup uses a new connection.
        let left = async {
            let home = || {
                std::fs::read_dir(sshd.home.path())
                    .unwrap()
                    .map(|entry| entry.unwrap().file_name())
            };
            while home().any(|name| name.to_string_lossy().contains(".sandbox-")) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LONG, left)
            .await
            .expect("a temporary file remains");
    }
}

#[tokio::test]
async fn a_download_that_is_cut_anywhere_is_whole_or_an_error() {
    let sshd = InProcessSshd::new();
    let data = pattern(150_000);
    put(&sshd.session().await, "file", &data).await;
    for round in 0..30_u64 {
        let plan =
            FaultPlan::new().fail_after(1000 + round * 5500, Direction::Read, StreamFault::Reset);
        let (_, sessions) = sshd.faulty([FaultPlan::new(), plan, FaultPlan::new()]);
        let session = support::session(&sessions, &sshd.access).await;
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let downloaded = session
            .download(DownloadRequest::new("file"), Box::new(near))
            .await;
        let mut there = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut there)
            .await
            .unwrap();
        match downloaded {
            Ok(length) => assert!(length == data.len() as u64 && there == data),
            Err(error) => assert!(
                matches!(error, Error::Transfer(_) | Error::Connection(_)),
                "{error:?}"
            ),
        }
        assert!(
            data.starts_with(&there),
            "the bytes before the cut are right"
        );
    }
}

/// russh never wakes a task that waits for the window of a connection that has ended.
#[tokio::test]
async fn a_writer_that_waits_for_the_window_notices_the_loss() {
    let sshd = InProcessSshd::new();
    for abandoned in [false, true] {
        let (connector, sessions) = sshd.faulty([]);
        let session = support::session(&sessions, &sshd.access).await;
        let mut request = ExecRequest::from_shell("echo begun; sleep 60");
        request.stdin = true;
        let mut process = session.exec(request).await.unwrap();
        assert!(matches!(
            process.next().await,
            Some(Ok(ExecEvent::Stdout(_)))
        ));
        let mut stdin = process.take_stdin().unwrap();
        for stream in connector.switches() {
            stream.fail(Direction::Write, StreamFault::Stall);
        }
        // Far more than every buffer and window in between.
        let writing = tokio::spawn(async move { stdin.write_all(&vec![0; 16 << 20]).await });
        let switch = connector.switches()[0].clone();
        if abandoned {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(process);
        } else {
            switch.fail(Direction::Read, StreamFault::Reset);
            let lost = tokio::time::timeout(LONG, process.wait())
                .await
                .expect("the call hangs")
                .unwrap_err();
            assert!(
                matches!(
                    lost,
                    Error::Command {
                        cause: CommandCause::Lost,
                        ..
                    }
                ),
                "{lost}"
            );
        }
        let written = tokio::time::timeout(LONG, writing)
            .await
            .expect("the writer hangs")
            .unwrap();
        assert!(written.is_err());
        for stream in connector.switches() {
            stream.clear_faults();
        }
        for _ in 0..10 {
            let process = session
                .exec(ExecRequest::from_argv(["true"]))
                .await
                .unwrap();
            assert!(process.wait().await.unwrap().success());
        }
    }
}
