//! A connection from inside, as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::connection::{Connection, IncomingChannel, QueueReader, Received};
use crate::transport::{LONGEST, PollSendRoom};

/// A connection from inside. Dropping it closes the channel.
pub(super) struct IncomingStream {
    received: QueueReader,
    rest: Bytes,
    is_ended: bool,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    room: PollSendRoom,
    /// russh's writer waits for its window for ever, also on a connection that has ended.
    connection_ended: Pin<Box<WaitForCancellationFutureOwned>>,
    closing: Option<Closing>,
}

struct Closing {
    write: ChannelWriteHalf<Msg>,
    connection: Arc<Connection>,
    permit: OwnedSemaphorePermit,
}

impl IncomingStream {
    pub(super) fn new(incoming: IncomingChannel, connection: Arc<Connection>) -> Self {
        let IncomingChannel {
            received,
            write,
            permit,
        } = incoming;
        Self {
            received,
            rest: Bytes::new(),
            is_ended: false,
            writer: Box::pin(write.make_writer()),
            connection_ended: Box::pin(connection.kill_switch().ended()),
            room: connection.kill_switch().send_room().for_channel(),
            closing: Some(Closing {
                write,
                connection,
                permit,
            }),
        }
    }

    /// Hands over a message, unless there is no room for it.
    fn write_part(&mut self, cx: &mut Context<'_>, part: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.room.poll_take(cx));
        let written = self.writer.as_mut().poll_write(cx, part);
        if !matches!(written, Poll::Ready(Ok(_))) {
            self.room.give_back();
        }
        written
    }

    /// Fails a pending write if the connection has ended.
    fn fail_if_ended<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() && self.connection_ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        result
    }
}

impl AsyncRead for IncomingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.is_ended {
            match ready!(self.received.poll_next(cx)) {
                Some(Received::Data(data, _budget)) => self.rest = data,
                Some(Received::End) => self.is_ended = true,
                // It was closed before its end.
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        let count = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for IncomingStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // russh drops what is written to a closed channel.
        if self.received.is_closed() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.write_part(cx, &data[..data.len().min(LONGEST)]);
        self.fail_if_ended(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.writer.as_mut().poll_flush(cx);
        self.fail_if_ended(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.writer.as_mut().poll_shutdown(cx);
        self.fail_if_ended(cx, ended)
    }
}

impl Drop for IncomingStream {
    fn drop(&mut self) {
        let Some(Closing {
            write,
            connection,
            permit,
        }) = self.closing.take()
        else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _permit = permit;
                tokio::select! {
                    closed = write.close() => {
                        if let Err(error) = closed {
                            tracing::debug!(%error, "channel not closed");
                        }
                    }
                    () = connection.wait_ended() => {}
                }
            });
        }
    }
}
