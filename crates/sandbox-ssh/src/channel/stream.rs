//! A channel as a byte stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::ReusableBoxFuture;

use super::open_channel::OpenChannel;
use crate::transport::KillSwitch;

/// A source of bytes in the parts in which they arrive.
pub(crate) trait Chunks: Send + Unpin {
    /// The next part; `None` at the end.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// The data of a channel, in both directions. A lost connection is an error, never an end of file.
/// Dropping the stream closes the channel and returns its slot.
pub(crate) struct ChannelIo {
    reading: ReusableBoxFuture<'static, (OpenChannel, Option<ChannelMsg>)>,
    /// Received data that was not read yet.
    rest: Bytes,
    eof: bool,
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
            writer,
            ended: ReusableBoxFuture::new(wait_ended(kill_switch.clone())),
            kill_switch,
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
        while !self.eof {
            let (channel, message) = ready!(self.reading.poll(cx));
            self.reading.set(next_message(channel));
            match message {
                Some(ChannelMsg::Data { data }) => {
                    return Poll::Ready(Ok(Some(data)));
                }
                Some(ChannelMsg::Eof | ChannelMsg::Close) => self.eof = true,
                Some(_) => {}
                None => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

impl AsyncRead for ChannelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.rest.is_empty() {
            match ready!(this.poll_chunk(cx))? {
                Some(chunk) => this.rest = chunk,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = this.rest.len().min(buf.remaining());
        buf.put_slice(&this.rest.split_to(taken));
        Poll::Ready(Ok(()))
    }
}

impl ChannelIo {
    /// Fails a pending write if the connection has ended, because russh's writer never stops waiting
    /// for its window.
    fn fail_if_dead<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() && (self.kill_switch.is_dead() || self.ended.poll(cx).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
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
