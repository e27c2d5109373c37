//! A TCP stream that can be reset from elsewhere, and that does not wait for ever for a client that reads nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::telemetry::CountedConnection;

/// A TCP stream that fails once its token is cancelled, and that is closed with a reset then.
pub(super) struct ResettableStream {
    stream: TcpStream,
    reset: CancellationToken,
    /// Wakes a task that waits for data, such as one that forwards an upgraded connection.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    write_timeout: Duration,
    /// Since the client stopped to take what it is sent.
    stalled: Option<Pin<Box<Sleep>>>,
    _held: Held,
}

/// What a connection takes until it is closed.
pub(super) struct Held {
    /// Room among all connections.
    pub(super) _permit: OwnedSemaphorePermit,
    /// A place among what the end of the server waits for.
    pub(super) _task: TaskTrackerToken,
    /// A place in the metrics.
    pub(super) _counted: CountedConnection,
}

impl ResettableStream {
    /// `write_timeout` is how long a client may take nothing of what it is sent.
    pub(super) fn new(
        stream: TcpStream,
        reset: CancellationToken,
        write_timeout: Duration,
        held: Held,
    ) -> Self {
        let cancelled = Box::pin(reset.clone().cancelled_owned());
        Self {
            stream,
            reset,
            cancelled,
            write_timeout,
            stalled: None,
            _held: held,
        }
    }

    /// Does a write, unless the stream was reset or its client takes nothing for too long.
    fn poll_limited<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.reset.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = write(Pin::new(&mut self.stream), cx);
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let timeout = self.write_timeout;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(stalled.as_mut().poll(cx));
        self.reset.cancel();
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for ResettableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cancelled.as_mut().poll(cx).is_ready() {
            // A completed future must not be polled again.
            self.cancelled = Box::pin(self.reset.clone().cancelled_owned());
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for ResettableStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_limited(cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_limited(cx, |stream, cx| stream.poll_flush(cx))
    }

    /// An orderly end would precede the reset, so that there is none after one.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_limited(cx, |stream, cx| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_limited(cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Drop for ResettableStream {
    fn drop(&mut self) {
        if self.reset.is_cancelled() {
            sandbox_net::reset_when_closed(&self.stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;

    async fn connect(write_timeout: Duration) -> (TcpStream, ResettableStream, CancellationToken) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let reset = CancellationToken::new();
        let held = Held {
            _permit: Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap(),
            _task: TaskTracker::new().token(),
            _counted: crate::telemetry::count_connection(),
        };
        (
            peer,
            ResettableStream::new(accepted, reset.clone(), write_timeout, held),
            reset,
        )
    }

    #[tokio::test]
    async fn a_reset_wakes_a_reader_and_reaches_the_peer() {
        let (mut peer, mut stream, reset) = connect(Duration::MAX).await;
        let reader =
            tokio::spawn(async move { stream.read(&mut [0; 1]).await.unwrap_err().kind() });
        reset.cancel();
        assert_eq!(reader.await.unwrap(), io::ErrorKind::ConnectionReset);
        let error = peer.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (peer, mut stream, reset) = connect(Duration::from_millis(200)).await;
        let chunk = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = stream.write_all(&chunk).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(reset.is_cancelled());
        drop(peer);
    }

    #[tokio::test]
    async fn a_slow_client_that_takes_something_is_not() {
        let (mut peer, mut stream, _reset) = connect(Duration::from_millis(500)).await;
        let writer = tokio::spawn(async move { stream.write_all(&vec![0; 16 << 20]).await });
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        while total < 16 << 20 {
            let count = peer.read(&mut buffer).await.unwrap();
            total += count;
            if total < 12 << 20 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        writer.await.unwrap().unwrap();
    }
}
