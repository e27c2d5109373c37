//! A channel as a byte stream.
//!
//! The ends of SSH become those of a stream (RFC 4254 §5.3): an end of file is one of reading, and
//! closes nothing; a close without it is a reset; after any close, writing fails.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::ChannelMsg;
use sandbox_core::PartStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::ReusableBoxFuture;

use super::open_channel::OpenChannel;
use crate::transport::KillSwitch;

/// A source of bytes in the parts in which they arrive.
pub(crate) trait Chunks: Send + Unpin {
    /// The next part; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// The data of a channel, in both directions. A lost connection, and a channel that is closed before its
/// end of file, are errors, never an end of file.
/// Dropping the stream closes the channel and returns its slot.
pub(crate) struct ChannelIo {
    reading: ReusableBoxFuture<'static, (OpenChannel, Option<ChannelMsg>)>,
    /// Received data that was not read yet.
    rest: Bytes,
    eof: bool,
    /// The server has closed the channel.
    closed: bool,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    kill_switch: KillSwitch,
    ended: ReusableBoxFuture<'static, ()>,
}

impl ChannelIo {
    pub(crate) fn new(channel: OpenChannel) -> Self {
        let kill_switch = channel.conn().kill_switch().clone();
        let writer = Box::pin(channel.write.make_writer());
        Self {
            reading: ReusableBoxFuture::new(next_message(channel)),
            rest: Bytes::new(),
            eof: false,
            closed: false,
            writer,
            ended: ReusableBoxFuture::new(wait_ended(kill_switch.clone())),
            kill_switch,
        }
    }
}

impl ChannelIo {
    /// The server's reply to a request that was sent before anything else; `false` if it refuses it.
    pub(super) fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let (channel, message) = ready!(self.reading.poll(cx));
            self.reading.set(next_message(channel));
            match message {
                Some(ChannelMsg::Success) => return Poll::Ready(Ok(true)),
                Some(ChannelMsg::Failure) => return Poll::Ready(Ok(false)),
                Some(ChannelMsg::Close) => {
                    self.closed = true;
                    return Poll::Ready(Ok(false));
                }
                // Nothing has begun that could send data.
                Some(ChannelMsg::Data { .. } | ChannelMsg::ExtendedData { .. }) => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                Some(_) => {}
                None => return Poll::Ready(Err(lost_error())),
            }
        }
    }
}

async fn next_message(mut channel: OpenChannel) -> (OpenChannel, Option<ChannelMsg>) {
    let message = channel.read.wait().await;
    (channel, message)
}

async fn wait_ended(kill_switch: KillSwitch) {
    kill_switch.wait_ended().await;
}

impl Chunks for ChannelIo {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        while !self.eof && !self.closed {
            let (channel, message) = ready!(self.reading.poll(cx));
            self.reading.set(next_message(channel));
            match message {
                Some(ChannelMsg::Data { data }) => {
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(ChannelMsg::Eof) => self.eof = true,
                Some(ChannelMsg::Close) => self.closed = true,
                Some(_) => {}
                None => return Poll::Ready(Err(lost_error())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl PartStream for ChannelIo {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        loop {
            let next = match std::mem::take(&mut self.rest) {
                rest if rest.is_empty() => ready!(self.poll_chunk(cx))?,
                rest => Some(rest),
            };
            match next {
                Some(part) if part.is_empty() => {}
                Some(part) => return Poll::Ready(Ok(Some(part))),
                None if self.eof => return Poll::Ready(Ok(None)),
                // A channel that is closed before the end of its data was cut off.
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
    }
}

/// Unlike the reset of one channel, this error has a text.
fn lost_error() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the connection to the sandbox was lost",
    )
}

impl AsyncRead for ChannelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(this.poll_part(cx))? {
                Some(part) => this.rest = part,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl ChannelIo {
    /// Whether the server has closed the channel, as far as is known before unread data is read.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> bool {
        while self.eof && !self.closed {
            let Poll::Ready((channel, message)) = self.reading.poll(cx) else {
                return false;
            };
            self.reading.set(next_message(channel));
            self.closed = matches!(message, Some(ChannelMsg::Close) | None);
        }
        self.closed
    }

    /// Fails a pending write if the connection has ended, because russh's writer never stops waiting
    /// for its window.
    fn fail_if_dead<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() && (self.kill_switch.is_dead() || self.ended.poll(cx).is_ready()) {
            return Poll::Ready(Err(lost_error()));
        }
        result
    }
}

impl AsyncWrite for ChannelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        // russh drops what is written to a closed channel.
        if self.poll_closed(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let result = self.writer.as_mut().poll_write(cx, buf);
        self.fail_if_dead(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.writer.as_mut().poll_flush(cx);
        self.fail_if_dead(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.writer.as_mut().poll_shutdown(cx);
        self.fail_if_dead(cx, result)
    }
}
