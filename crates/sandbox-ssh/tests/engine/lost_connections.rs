//! A connection that is lost during a call: an error, never success, never a second run.

use std::time::Duration;

use sandbox_core::{CommandCause, Error, ExecEvent, ExecRequest, TransferReason, UploadRequest};
use tokio::io::AsyncWriteExt;

use crate::support::contract::{get, pattern, put, reason, sh};
use crate::support::{self, InProcessSshd};

fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Command {
            cause: CommandCause::Lost,
            ..
        }
    )
}

#[tokio::test]
async fn a_connection_lost_during_a_command_is_an_error() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    for _ in 0..3 {
        let mut process = session
            .exec(ExecRequest::from_shell("echo begun; sleep 60"))
            .await
            .unwrap();
        process.next().await.unwrap().unwrap();
        let cut = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            sshd.connector.cut().await;
        };
        let (output, end, ()) = tokio::join!(
            session.output(ExecRequest::from_shell("sleep 60"), 100),
            process.wait(),
            cut
        );
        assert!(is_lost(&end.unwrap_err()));
        assert!(is_lost(&output.unwrap_err()));
        // The next command gets another connection.
        assert_eq!(sh(&session, "echo on").await, "on\n");
    }
}

/// Whenever the connection is cut, a command runs at most once, and only a command that ran succeeds.
#[tokio::test]
async fn a_command_is_never_run_twice() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut succeeded = 0;
    for round in 0..60_u64 {
        let name = format!("run-{round}");
        let command = ExecRequest::from_shell(format!("echo x >> {name}; echo done"));
        let cut = async {
            tokio::time::sleep(Duration::from_micros(round * 100)).await;
            sshd.connector.cut().await;
        };
        let (output, ()) = tokio::join!(session.output(command, 100), cut);
        let ran = std::fs::read_to_string(sshd.home.path().join(&name)).unwrap_or_default();
        assert!(ran.len() <= 2, "{name} ran twice");
        if let Ok(output) = output {
            assert_eq!(
                (ran.as_str(), output.stdout_lossy().as_str()),
                ("x\n", "done\n")
            );
            succeeded += 1;
        }
    }
    assert!(succeeded < 60, "no cut was in time");
}

#[tokio::test]
async fn a_server_that_is_killed_is_an_error() {
    let Some(mut sshd) = support::openssh::start(&[]) else {
        return;
    };
    let session = sshd.session().await;
    let mut process = session
        .exec(ExecRequest::from_shell("echo begun; sleep 60"))
        .await
        .unwrap();
    assert!(matches!(
        process.next().await,
        Some(Ok(ExecEvent::Stdout(_)))
    ));
    put(&session, "file", b"x").await;
    sshd.kill();
    assert!(is_lost(&process.wait().await.unwrap_err()));
    let error = session
        .output(ExecRequest::from_argv(["true"]), 100)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Connection(_)), "{error}");
    session.stat(&"file".into(), true).await.unwrap_err();
}

#[tokio::test]
async fn a_cut_transfer_leaves_the_former_file() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    put(&session, "file", b"former").await;
    // An upload whose source stops in the middle, until the connection is cut.
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let feed = async {
        far.write_all(&pattern(500_000)).await.unwrap();
        sshd.connector.cut().await;
        // Enough for the loss to be noticed; the source is not read to its end then.
        while far.write_all(&[0; 10_000]).await.is_ok() {}
    };
    let (result, ()) = tokio::join!(
        session.upload(UploadRequest::new("file"), Box::new(near)),
        feed
    );
    assert_eq!(reason(&result.unwrap_err()), TransferReason::Lost);
    assert_eq!(get(&session, "file").await.unwrap(), b"former");

    put(&session, "large", &pattern(5_000_000)).await;
    let (near, far) = tokio::io::duplex(1000);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        sshd.connector.cut().await;
        drop(far);
    };
    let request = sandbox_core::DownloadRequest::new("large");
    let (result, ()) = tokio::join!(session.download(request, Box::new(near)), cut);
    result.unwrap_err();
    assert!(get(&session, "large").await.unwrap() == pattern(5_000_000));
}

#[tokio::test]
async fn a_lost_stream_is_an_error_not_an_end() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut stream = session.open_stream("127.0.0.1", port).await.unwrap();
    let _peer = listener.accept().await.unwrap();
    sshd.connector.cut().await;
    let error = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 8])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
