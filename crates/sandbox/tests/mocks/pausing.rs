//! Pausing a sandbox whose server cannot do so, which only its answer shows.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use sandbox::SandboxEventKind;
use sandbox::prelude::*;
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
