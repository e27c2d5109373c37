//! Pausing a sandbox whose server cannot do so, which only its answer shows.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{OnExpiry, SandboxEventKind, WatchOptions};
use sandbox_core::{GuestChannel, MockSession};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::support::{backend, client, event, info, sessions};

/// Takes everything that is written, and knows no operation.
struct Refusing;

impl AsyncRead for Refusing {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let error = Error::unsupported("a pause", "the server", "use another one");
        Poll::Ready(Err(io::Error::other(error)))
    }
}

impl AsyncWrite for Refusing {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_paused_is_not_left_marked_as_paused() {
    let mut session = MockSession::new();
    session
        .expect_open_guest()
        .returning(|| Ok(GuestChannel::new(Refusing, Duration::from_secs(20))));
    let marks = Arc::new(Mutex::new(Vec::new()));
    let marked = Arc::clone(&marks);
    let mut backend = backend(0, vec![event(SandboxEventKind::Started, "")]);
    backend.expect_assign().returning(move |id, _, assignment| {
        marked.lock().unwrap().push(assignment.is_paused);
        Ok(info(id))
    });
    let sbx = client(backend, sessions(session))
        .sandbox()
        .create()
        .await
        .unwrap();
    let error = sbx.pause().await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert_eq!(*marks.lock().unwrap(), [Some(true), Some(false)]);
}

#[tokio::test]
async fn a_sandbox_whose_end_shows_on_the_channel_is_not_found() {
    let mut session = MockSession::new();
    // The channel was opened before the end was noticed. Nothing answers, and the stream ends.
    session.expect_open_guest().returning(|| {
        let (near, _) = tokio::io::duplex(1 << 16);
        Ok(GuestChannel::new(near, Duration::from_secs(20)))
    });
    let mut backend = backend(0, vec![event(SandboxEventKind::Started, "")]);
    backend.expect_assign().returning(|id, _, _| Ok(info(id)));
    backend
        .expect_diagnose()
        .returning(|id| Err(Error::NotFound { id: id.clone() }));
    let sbx = client(backend, sessions(session))
        .sandbox()
        .create()
        .await
        .unwrap();
    let files = sbx.guest_files();
    let calls = [
        ("pause", sbx.pause().await.map(drop)),
        ("resume", sbx.resume(None).await.map(drop)),
        ("pause_state", sbx.pause_state().await.map(drop)),
        ("set_on_expiry", sbx.set_on_expiry(OnExpiry::End).await),
        ("usage", sbx.usage().await.map(drop)),
        ("environment", sbx.environment().await.map(drop)),
        ("stat", files.stat("a").await.map(drop)),
        ("list", files.list("a", 1).await.map(drop)),
        ("remove", files.remove("a").await),
        ("read", files.read("a", 0, None).await.map(drop)),
        ("write", files.write("a", "b").await.map(drop)),
        ("watch", files.watch(WatchOptions::new("a")).await.map(drop)),
        ("take_events", files.take_events("a").await.map(drop)),
        ("list of processes", sbx.processes().list().await.map(drop)),
    ];
    for (name, called) in calls {
        assert!(
            matches!(&called, Err(Error::NotFound { id }) if id == sbx.id()),
            "{name}: {called:?}"
        );
    }
}
