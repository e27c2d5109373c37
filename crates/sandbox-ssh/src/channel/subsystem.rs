//! Channels for a subsystem that only sandbox-sshd has.
//!
//! The server's reply to the request is awaited by the first read, not before the first write: an operation whose request
//! is the first thing that is sent takes one round trip less.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::{ConnectionStage, Deadline, Error, PartStream, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::ChannelPool;
use super::stream::ChannelIo;
use crate::connection::Opening;

/// A subsystem, and what an error says about it.
#[derive(Debug)]
pub(crate) struct Subsystem {
    pub(crate) name: &'static str,
    /// What the server is asked for, for messages: `a request for …`.
    pub(crate) purpose: &'static str,
    /// The error about a server that does not have it, for this reason.
    pub(crate) unsupported: fn(&str) -> Error,
}

/// Opens channels for one subsystem.
pub(crate) struct SubsystemChannels {
    channels: ChannelPool,
    subsystem: &'static Subsystem,
    /// How long a free slot and a connection may take.
    checkout_timeout: Duration,
    /// How long the server may take to open a channel, and to reply to the request.
    reply_timeout: Duration,
    /// The server has refused one.
    is_unsupported: Arc<AtomicBool>,
}

/// The data of a subsystem's channel. What is written is sent at once; if the server refuses the subsystem, reading and
/// writing fail with an [`io::Error`] whose source is the SDK's [`Error`].
pub(crate) struct SubsystemStream {
    io: ChannelIo,
    reply: Reply,
    subsystem: &'static Subsystem,
    is_unsupported: Arc<AtomicBool>,
}

/// The server's reply to the request for a subsystem.
enum Reply {
    Awaited(Pin<Box<Sleep>>),
    Success,
    Failure,
    /// None in time.
    Missing,
}

impl SubsystemChannels {
    pub(crate) fn new(
        channels: ChannelPool,
        subsystem: &'static Subsystem,
        checkout_timeout: Duration,
        reply_timeout: Duration,
    ) -> Self {
        Self {
            channels,
            subsystem,
            checkout_timeout,
            reply_timeout,
            is_unsupported: Arc::default(),
        }
    }

    pub(crate) fn pool(&self) -> &ChannelPool {
        &self.channels
    }

    /// How long the server may take to reply.
    pub(crate) fn reply_timeout(&self) -> Duration {
        self.reply_timeout
    }

    /// Opens a channel and requests the subsystem, without waiting for the reply. Dropping the future closes the channel.
    pub(crate) async fn open(&self) -> Result<SubsystemStream> {
        if self.is_unsupported.load(Ordering::Relaxed) {
            return Err(self.subsystem.refused_error());
        }
        let timeout = self.reply_timeout;
        let deadline = Deadline::from_now(self.checkout_timeout);
        let opening = self.channels.open(&Opening::Session, timeout, deadline);
        let channel = opening.await?;
        // Another server could understand the name as something else.
        if !channel.conn().is_sandbox_sshd() {
            self.is_unsupported.store(true, Ordering::Relaxed);
            channel.finish(false).await;
            return Err(self.subsystem.refused_error());
        }
        let requesting = channel.request_subsystem(self.subsystem.name);
        let requested = tokio::time::timeout(timeout, requesting).await;
        requested.map_err(|_elapsed| self.subsystem.no_reply_error())??;
        Ok(SubsystemStream {
            io: ChannelIo::new(channel),
            reply: Reply::Awaited(Box::pin(tokio::time::sleep_until(Instant::now() + timeout))),
            subsystem: self.subsystem,
            is_unsupported: Arc::clone(&self.is_unsupported),
        })
    }
}

impl Subsystem {
    fn refused_error(&self) -> Error {
        (self.unsupported)("it has no such channel")
    }

    fn no_reply_error(&self) -> Error {
        Error::connection(
            ConnectionStage::Channel,
            format!("the server did not answer the request for {}", self.purpose),
            None,
        )
    }
}

impl SubsystemStream {
    /// Waits until the server has started the subsystem.
    pub(crate) async fn wait_started(&mut self) -> Result<()> {
        let started = std::future::poll_fn(|cx| self.poll_started(cx)).await;
        started.map_err(|error| {
            error.downcast::<Error>().unwrap_or_else(|error| {
                let source = Some(error.into());
                Error::connection(ConnectionStage::Channel, "the connection was lost", source)
            })
        })
    }

    fn poll_started(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Reply::Awaited(timeout) = &mut self.reply {
            match self.io.poll_reply(cx)? {
                Poll::Ready(true) => self.reply = Reply::Success,
                Poll::Ready(false) => {
                    self.is_unsupported.store(true, Ordering::Relaxed);
                    self.reply = Reply::Failure;
                }
                Poll::Pending => {
                    ready!(timeout.as_mut().poll(cx));
                    self.reply = Reply::Missing;
                }
            }
        }
        Poll::Ready(match &self.reply {
            Reply::Success => Ok(()),
            Reply::Failure => Err(io::Error::other(self.subsystem.refused_error())),
            Reply::Missing | Reply::Awaited(_) => {
                let error = self.subsystem.no_reply_error();
                Err(io::Error::new(io::ErrorKind::TimedOut, error))
            }
        })
    }
}

impl PartStream for SubsystemStream {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        ready!(self.poll_started(cx))?;
        self.io.poll_part(cx)
    }
}

impl AsyncRead for SubsystemStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_started(cx))?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for SubsystemStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A server that has refused grants no new window: a writer that only writes would wait forever.
        if let Poll::Ready(Err(error)) = self.poll_started(cx) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
