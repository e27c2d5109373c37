//! A TCP stream that can be reset from elsewhere.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A TCP stream that fails once its token is cancelled, and that is closed with a reset then.
pub(super) struct ResettableStream {
    stream: TcpStream,
    reset: CancellationToken,
    /// Wakes a task that waits for data, such as one that forwards an upgraded connection.
    cancelled: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Released when the stream is closed.
    _held: Held,
}

/// What a connection takes: room among all connections, and a place among what the end of the server waits for.
pub(super) type Held = (OwnedSemaphorePermit, TaskTrackerToken);

impl ResettableStream {
    pub(super) fn new(stream: TcpStream, reset: CancellationToken, held: Held) -> Self {
        let cancelled = Box::pin(reset.clone().cancelled_owned());
        Self {
            stream,
            reset,
            cancelled,
            _held: held,
        }
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
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.reset.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.is_cancelled() {
            // An orderly end would precede the reset.
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.reset.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
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
    use tokio::io::AsyncReadExt;
    use tokio::sync::Semaphore;
    use tokio_util::task::TaskTracker;

    async fn held() -> Held {
        let room = Arc::new(Semaphore::new(1));
        (
            room.acquire_owned().await.unwrap(),
            TaskTracker::new().token(),
        )
    }

    #[tokio::test]
    async fn a_reset_wakes_a_reader_and_reaches_the_peer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let reset = CancellationToken::new();
        let mut stream = ResettableStream::new(accepted, reset.clone(), held().await);
        let reader =
            tokio::spawn(async move { stream.read(&mut [0; 1]).await.unwrap_err().kind() });
        reset.cancel();
        assert_eq!(reader.await.unwrap(), io::ErrorKind::ConnectionReset);
        let error = peer.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
