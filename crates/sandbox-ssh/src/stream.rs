//! A channel as a byte stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::ReusableBoxFuture;

use crate::channel::OpenChannel;
use crate::files::{Chunks, Progress};
use crate::transport::Life;

/// The data of a channel, both ways. A lost connection is an error, never an end. Dropping it
/// closes the channel and gives its slot back.
pub(crate) struct ChannelIo {
    reading: ReusableBoxFuture<'static, (OpenChannel, Option<ChannelMsg>)>,
    /// What has arrived and was not read yet.
    rest: Bytes,
    eof: bool,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    life: Life,
    dead: ReusableBoxFuture<'static, ()>,
    progress: Option<Arc<Progress>>,
}

impl ChannelIo {
    pub(crate) fn new(channel: OpenChannel) -> Self {
        let life = channel.conn().life().clone();
        let writer = Box::pin(channel.write.make_writer());
        Self {
            reading: ReusableBoxFuture::new(next(channel)),
            rest: Bytes::new(),
            eof: false,
            writer,
            dead: ReusableBoxFuture::new(ended(life.clone())),
            life,
            progress: None,
        }
    }

    /// Notes when something comes.
    pub(crate) fn noting(mut self, progress: &Arc<Progress>) -> Self {
        self.progress = Some(Arc::clone(progress));
        self
    }
}

async fn next(mut channel: OpenChannel) -> (OpenChannel, Option<ChannelMsg>) {
    let message = channel.read.wait().await;
    (channel, message)
}

async fn ended(life: Life) {
    life.ended().await;
}

impl Chunks for ChannelIo {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        while !self.eof {
            let (channel, message) = ready!(self.reading.poll(cx));
            self.reading.set(next(channel));
            match message {
                Some(ChannelMsg::Data { data }) => {
                    if let Some(progress) = &self.progress {
                        progress.note();
                    }
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
    /// russh's writer waits for ever for the window of a connection that has ended.
    fn unless_dead<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() && (self.life.is_dead() || self.dead.poll(cx).is_ready()) {
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
        self.unless_dead(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.writer.as_mut().poll_flush(cx);
        self.unless_dead(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.writer.as_mut().poll_shutdown(cx);
        self.unless_dead(cx, result)
    }
}
