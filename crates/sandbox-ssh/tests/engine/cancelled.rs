//! Futures that are dropped after any poll and at any turn of the runtime leave no channel, process,
//! open file or temporary file.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use sandbox_core::{DownloadRequest, ExecRequest, Result, Session, UploadRequest};
use sandbox_ssh::SshSessions;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::contract::{drive_for, get, pattern, put, sh};
use crate::support::leftovers::wait_until_clean;
use crate::support::{self, InProcessSshd};

const CAP: usize = 1 << 20;

/// A waker that counts; the future is polled only by the test.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Polls a future this many times, each time after it was woken, and drops it.
async fn poll_times<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let woken = Arc::new(Woken(Notify::new()));
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    for poll in 0..polls {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(done);
        }
        if poll + 1 < polls {
            woken.0.notified().await;
        }
    }
    None
}

type AnySession = Arc<dyn Session>;

async fn collect_output(session: AnySession) -> Result<()> {
    session
        .output(
            ExecRequest::from_shell("echo out; sleep 0.002; echo err >&2"),
            CAP,
        )
        .await
        .map(drop)
}

async fn stream_output(session: AnySession) -> Result<()> {
    let mut request = ExecRequest::from_shell("read line; echo $line; exec cat");
    request.stdin = true;
    let mut process = session.exec(request).await?;
    let mut stdin = process.take_stdin().unwrap();
    // The process reports the end.
    stdin.write_all(b"typed\n").await.ok();
    stdin.write_all(&[b'x'; 300_000]).await.ok();
    drop(stdin);
    while let Some(event) = process.next().await {
        event?;
    }
    Ok(())
}

async fn upload_file(session: AnySession) -> Result<()> {
    let from = Box::new(std::io::Cursor::new(pattern(200_000)));
    session
        .upload(UploadRequest::new("up"), from)
        .await
        .map(drop)
}

async fn download_file(session: AnySession) -> Result<()> {
    session
        .download(DownloadRequest::new("down"), Box::new(tokio::io::sink()))
        .await
        .map(drop)
}

/// Drops `call` after each number of polls until it is done, and then at every turn of the runtime,
/// that is between any two steps of its tasks.
async fn drop_everywhere<F: Future<Output = Result<()>>>(call: impl Fn(AnySession) -> F) {
    let sshd = InProcessSshd::new();
    let sessions = sshd.sessions();
    let session = support::session(&sessions, &sshd.access).await;
    put(&session, "down", &pattern(200_000)).await;

    let mut polls = 0;
    loop {
        let done = poll_times(call(Arc::clone(&session)), polls).await;
        wait_until_clean(&sshd, &sessions).await;
        if let Some(done) = done {
            done.unwrap();
            break;
        }
        polls += 1;
        assert!(polls < 5000, "it is never done");
    }
    assert!(polls >= 2, "it never waited");

    let mut turns = 0;
    loop {
        let done = drive_for(call(Arc::clone(&session)), turns).await;
        wait_until_clean(&sshd, &sessions).await;
        if let Some(done) = done {
            done.unwrap();
            break;
        }
        turns = if turns < 100 {
            turns + 1
        } else {
            turns + turns / 5
        };
        assert!(turns < 100_000_000, "it is never done");
    }
    assert_usable(&sshd, &sessions, &session).await;
}

async fn assert_usable(sshd: &InProcessSshd, sessions: &SshSessions, session: &AnySession) {
    assert_eq!(sh(session, "echo on").await, "on\n");
    assert!(get(session, "down").await.unwrap() == pattern(200_000));
    wait_until_clean(sshd, sessions).await;
}

#[tokio::test]
async fn a_collected_command() {
    drop_everywhere(collect_output).await;
}

#[tokio::test]
async fn a_streamed_command() {
    drop_everywhere(stream_output).await;
}

#[tokio::test]
async fn an_upload() {
    drop_everywhere(upload_file).await;
}

#[tokio::test]
async fn a_download() {
    drop_everywhere(download_file).await;
}

/// Without any connection: the handshake, the first channel, the first SFTP session.
#[tokio::test]
async fn the_first_call_of_a_session() {
    let sshd = InProcessSshd::new();
    put(&sshd.session().await, "down", &pattern(1000)).await;
    let first = |sessions: SshSessions, sshd: InProcessSshd| async move {
        let session = support::session(&sessions, &sshd.access).await;
        collect_output(Arc::clone(&session)).await?;
        download_file(session).await
    };
    for step in 0.. {
        let sessions = sshd.sessions();
        let turns = if step < 60 {
            step * 3
        } else {
            200 + step * step
        };
        let done = drive_for(first(sessions.clone(), sshd.clone()), turns).await;
        wait_until_clean(&sshd, &sessions).await;
        drop_sessions(&sshd, sessions).await;
        if let Some(done) = done {
            done.unwrap();
            return;
        }
    }
}

/// Without its sessions, a connection ends.
async fn drop_sessions(sshd: &InProcessSshd, sessions: SshSessions) {
    drop(sessions);
    for _ in 0..5000 {
        if sshd.server.status().clients == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{:?}", sshd.server.status());
}
