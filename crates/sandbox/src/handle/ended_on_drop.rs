//! A stream into a sandbox that ends in order when it is dropped.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sandbox_core::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::runtime::Handle;

/// How long the end of a dropped stream may take to be sent.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// A session's stream is reset if it is dropped before its end, so that a program inside does not
/// take half of the data for all of it. Callers expect the habits of a TCP stream, whose drop ends
/// the connection in order.
pub(super) struct EndedOnDrop {
    /// `None` only while this is dropped.
    stream: Option<Box<dyn ByteStream>>,
    is_ended: bool,
}

impl EndedOnDrop {
    pub(super) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self {
            stream: Some(stream),
            is_ended: false,
        }
    }

    fn stream(&mut self) -> io::Result<Pin<&mut dyn ByteStream>> {
        match &mut self.stream {
            Some(stream) => Ok(Pin::new(&mut **stream)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsyncRead for EndedOnDrop {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for EndedOnDrop {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(self.stream()?.poll_shutdown(cx));
        self.is_ended |= result.is_ok();
        Poll::Ready(result)
    }
}

impl Drop for EndedOnDrop {
    fn drop(&mut self) {
        // Without a runtime nothing can be sent: the connections are lost as well.
        if let (false, Some(mut stream), Ok(runtime)) =
            (self.is_ended, self.stream.take(), Handle::try_current())
        {
            runtime.spawn(async move {
                let ended = tokio::time::timeout(END_TIMEOUT, stream.shutdown()).await;
                tracing::trace!(?ended, "a dropped stream was ended");
            });
        }
    }
}
