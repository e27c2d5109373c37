//! Futures that are dropped after any poll, and at any turn of the runtime: no channel, process,
//! open file or temporary file stays behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use sandbox_core::{DownloadRequest, ExecRequest, Result, Session, UploadRequest};
use sandbox_ssh::SshSessions;
use support::Ours;
use support::contract::{cut_off, get, pattern, put, sh};
use support::left::nothing_is_left;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

const CAP: usize = 1 << 20;

/// A waker of our own: nothing else polls the future.
struct Woken(Notify);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// Polls a future so often, each time when it asked for it, and drops it.
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

type Any = Arc<dyn Session>;

async fn collected(session: Any) -> Result<()> {
    session
        .output(
            ExecRequest::from_shell("echo out; sleep 0.002; echo err >&2"),
            CAP,
        )
        .await
        .map(drop)
}

async fn streamed(session: Any) -> Result<()> {
    let mut request = ExecRequest::from_shell("read line; echo $line; exec cat");
    request.stdin = true;
    let mut process = session.exec(request).await?;
    let mut stdin = process.take_stdin().unwrap();
    // The end is told by the process.
    stdin.write_all(b"typed\n").await.ok();
    stdin.write_all(&[b'x'; 300_000]).await.ok();
    drop(stdin);
    while let Some(event) = process.next().await {
        event?;
    }
    Ok(())
}

async fn uploaded(session: Any) -> Result<()> {
    let from = Box::new(std::io::Cursor::new(pattern(200_000)));
    session
        .upload(UploadRequest::new("up"), from)
        .await
        .map(drop)
}

async fn downloaded(session: Any) -> Result<()> {
    session
        .download(DownloadRequest::new("down"), Box::new(tokio::io::sink()))
        .await
        .map(drop)
}

/// Drops `call` after each number of polls until it is done, and then at every turn of the
/// runtime, which is to say between any two steps of the tasks that work for it.
async fn dropped_everywhere<F: Future<Output = Result<()>>>(call: impl Fn(Any) -> F) {
    let ours = Ours::new();
    let sessions = ours.sessions();
    let session = support::session(&sessions, &ours.access).await;
    put(&session, "down", &pattern(200_000)).await;

    let mut polls = 0;
    loop {
        let done = poll_times(call(Arc::clone(&session)), polls).await;
        nothing_is_left(&ours, &sessions).await;
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
        let done = cut_off(call(Arc::clone(&session)), turns).await;
        nothing_is_left(&ours, &sessions).await;
        if let Some(done) = done {
            done.unwrap();
            break;
        }
        turns = if turns < 200 {
            turns + 1
        } else {
            turns + turns / 8
        };
        assert!(turns < 100_000_000, "it is never done");
    }
    still_good(&ours, &sessions, &session).await;
}

async fn still_good(ours: &Ours, sessions: &SshSessions, session: &Any) {
    assert_eq!(sh(session, "echo on").await, "on\n");
    assert!(get(session, "down").await.unwrap() == pattern(200_000));
    nothing_is_left(ours, sessions).await;
}

#[tokio::test]
async fn a_collected_command() {
    dropped_everywhere(collected).await;
}

#[tokio::test]
async fn a_streamed_command() {
    dropped_everywhere(streamed).await;
}

#[tokio::test]
async fn an_upload() {
    dropped_everywhere(uploaded).await;
}

#[tokio::test]
async fn a_download() {
    dropped_everywhere(downloaded).await;
}

/// From nothing: the handshake, the first channel, the first session for files.
#[tokio::test]
async fn the_first_call_of_a_session() {
    let ours = Ours::new();
    put(&ours.session().await, "down", &pattern(1000)).await;
    let first = |sessions: SshSessions, ours: Ours| async move {
        let session = support::session(&sessions, &ours.access).await;
        collected(Arc::clone(&session)).await?;
        downloaded(session).await
    };
    for step in 0.. {
        let sessions = ours.sessions();
        let turns = if step < 60 {
            step * 3
        } else {
            200 + step * step
        };
        let done = cut_off(first(sessions.clone(), ours.clone()), turns).await;
        nothing_is_left(&ours, &sessions).await;
        sessions_end(&ours, sessions).await;
        if let Some(done) = done {
            done.unwrap();
            return;
        }
    }
}

/// Without its sessions, a connection ends.
async fn sessions_end(ours: &Ours, sessions: SshSessions) {
    drop(sessions);
    for _ in 0..5000 {
        if ours.server.status().clients == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{:?}", ours.server.status());
}
