//! Commands and streams that share connections.

use std::time::Duration;

use sandbox_core::{Error, ExecEvent, ExecRequest, ExitStatus};
use tokio::io::AsyncWriteExt;

use super::{AnySession, CAP, resident, sh};

pub(crate) async fn a_background_process_does_not_delay_the_end(session: &AnySession) {
    let wait = Duration::from_secs(15);
    let run = session.output(
        ExecRequest::from_shell("echo begun; sleep 30 & exit 5"),
        CAP,
    );
    let output = tokio::time::timeout(wait, run)
        .await
        .expect("the call waits for the sleep")
        .unwrap();
    assert_eq!(
        (output.status, &output.stdout[..]),
        (ExitStatus::Code(5), &b"begun\n"[..])
    );

    let process = session
        .exec(ExecRequest::from_shell("sleep 30 & echo begun"))
        .await
        .unwrap();
    let output = tokio::time::timeout(wait, process.output(CAP))
        .await
        .expect("the call hangs")
        .unwrap();
    assert_eq!(output.stdout_lossy(), "begun\n");
}

pub(crate) async fn an_unread_stream_blocks_nothing_else(session: &AnySession) {
    let mut unread = session.exec(ExecRequest::from_argv(["yes"])).await.unwrap();
    assert!(matches!(
        unread.next().await,
        Some(Ok(ExecEvent::Stdout(_)))
    ));
    // Long enough for every queue in between to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        assert_eq!(sh(session, "echo on").await, "on\n");
    }
    let before = resident();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        resident().saturating_sub(before) < 64 << 20,
        "unread output is not buffered either"
    );
    drop(unread);
    assert_eq!(
        session
            .exec(ExecRequest::from_argv(["true"]))
            .await
            .unwrap()
            .wait()
            .await
            .unwrap(),
        ExitStatus::Code(0)
    );
}

pub(crate) async fn a_port_is_reached(session: &AnySession) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut stream = session.open_stream("127.0.0.1", port).await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(answer, "there and back");
    echo.await.unwrap();
    drop(stream);
    let Err(error) = session.open_stream("127.0.0.1", port).await else {
        panic!("nothing listens there")
    };
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

/// Drives a future for `steps` turns of the runtime, and then drops it. Timers are too coarse to hit
/// the moments between two packets.
pub(crate) async fn drive_for<T>(future: impl Future<Output = T>, steps: u64) -> Option<T> {
    let steps_done = async {
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = future => Some(done),
        () = steps_done => None,
    }
}

/// Futures that are dropped at any moment leave the server usable.
pub(crate) async fn cancelled_calls_leak_no_channel(session: &AnySession) {
    let mut finished = 0;
    for round in 0..200_u64 {
        let request = ExecRequest::from_argv(["echo", "x"]);
        // Most of them are dropped while the channel is opened.
        let steps = if round < 150 {
            round / 2 % 40
        } else {
            round * round / 10
        };
        finished += u32::from(match round % 2 {
            0 => drive_for(session.output(request, CAP), steps)
                .await
                .is_some(),
            _ => drive_for(async { session.exec(request).await?.wait().await }, steps)
                .await
                .is_some(),
        });
    }
    assert!(finished < 190, "hardly any was cancelled");
    let all = (0..20).map(|_| session.output(ExecRequest::from_argv(["true"]), CAP));
    for output in futures_util::future::join_all(all).await {
        assert!(output.unwrap().status.success());
    }
}

pub(crate) async fn many_callers_share(session: &AnySession) {
    let run = |n: u32| async move {
        let output = session
            .output(
                ExecRequest::from_argv(["echo".to_owned(), n.to_string()]),
                CAP,
            )
            .await
            .unwrap();
        assert_eq!(output.stdout_lossy(), format!("{n}\n"));
    };
    futures_util::future::join_all((0..64).map(run)).await;
}
