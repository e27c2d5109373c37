//! The output of one channel: data, exit status and close.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf};
use sandbox_core::{Notice, Signal, protocol};
use tokio::io::AsyncWrite;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::signals::to_russh;
use super::write_backlog::WriteBacklog;

/// The channel is closed, so nothing can be sent on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChannelClosed;

/// SSH_EXTENDED_DATA_STDERR, RFC 4254 §5.2.
const STDERR: u32 = 1;

/// How a command ended, as SSH reports it (RFC 4254 §6.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    Code(u32),
    Signal { signal: Signal, core_dumped: bool },
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code.cast_unsigned()),
            (None, Some(number)) => Self::Signal {
                signal: Signal::from_number(u8::try_from(number).unwrap_or(u8::MAX)),
                core_dumped: status.core_dumped(),
            },
            // wait(2) reports only ended processes, so this cannot happen.
            (None, None) => Self::Code(255),
        }
    }
}

/// Sends data as the client's window allows, and the exit status of a command.
///
/// If the connection is lost while the window is empty, sending never returns. Race it against
/// [`InputReader::closed_token`](super::input::InputReader::closed_token).
pub(crate) struct Output {
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    /// The end of the output was sent, which may happen only once (RFC 4254 §5.3).
    ended: Arc<AtomicBool>,
    /// The client is the SDK's own, which understands notices.
    accepts_notices: bool,
    /// What has to be short before more is read. Without one, the client's window is enough.
    backlog: Option<Arc<WriteBacklog>>,
}

impl Output {
    pub(crate) fn new(
        channel: ChannelWriteHalf<Msg>,
        handle: Handle,
        accepts_notices: bool,
    ) -> Self {
        Self {
            channel,
            handle,
            ended: Arc::default(),
            accepts_notices,
            backlog: None,
        }
    }

    /// Lets [`wait_for_room`](Self::wait_for_room) wait while the connection has much to send.
    pub(crate) fn with_backlog(mut self, backlog: Arc<WriteBacklog>) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// Waits until more may be read for this output.
    pub(crate) async fn wait_for_room(&self) {
        if let Some(backlog) = &self.backlog {
            backlog.wait_until_short().await;
        }
    }

    pub(crate) async fn send_stdout(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.send(data, None).await
    }

    pub(crate) async fn send_stderr(&self, data: Bytes) -> Result<(), ChannelClosed> {
        self.send(data, Some(STDERR)).await
    }

    async fn send(&self, data: Bytes, stream: Option<u32>) -> Result<(), ChannelClosed> {
        let sent = match stream {
            None => self.channel.data_bytes(data).await,
            Some(stream) => self.channel.extended_data_bytes(stream, data).await,
        };
        sent.map_err(|_| ChannelClosed)
    }

    /// Sends a message of the server on the command's standard error.
    pub(crate) async fn send_error(&self, message: &str) -> Result<(), ChannelClosed> {
        self.send_stderr(format!("sandbox-sshd: {message}\n").into())
            .await
    }

    /// Sends a notice, or a line on standard error to a client that does not know notices.
    pub(crate) async fn send_notice(&self, notice: Notice) -> Result<(), ChannelClosed> {
        if !self.accepts_notices {
            return self.send_error(&notice.to_string()).await;
        }
        match serde_json::to_vec(&notice) {
            Ok(json) => self.send(json.into(), Some(protocol::NOTICE_DATA)).await,
            Err(error) => {
                tracing::warn!(%error, "notice not serialized");
                Ok(())
            }
        }
    }

    /// Returns standard output as a stream, which fails once the channel is closed.
    pub(crate) fn stdout_writer(
        &self,
        closed: CancellationToken,
    ) -> impl AsyncWrite + Send + Unpin + 'static {
        Writer {
            inner: Box::pin(self.channel.make_writer()),
            closed: Box::pin(closed.cancelled_owned()),
            ended: Arc::clone(&self.ended),
        }
    }

    /// Sends the end of the output, unless it was sent.
    pub(crate) async fn send_eof(&self) -> Result<(), ChannelClosed> {
        if self.ended.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.channel.eof().await.map_err(|_| ChannelClosed)
    }

    /// Sends the end of the output and the exit status, if there is one, and closes the channel.
    pub(crate) async fn finish(&self, exit: Option<Exit>) -> Result<(), ChannelClosed> {
        let id: ChannelId = self.channel.id();
        self.send_eof().await?;
        match exit {
            Some(Exit::Code(code)) => self
                .handle
                .exit_status_request(id, code)
                .await
                .map_err(|()| ChannelClosed)?,
            Some(Exit::Signal {
                signal,
                core_dumped,
            }) => self
                .handle
                .exit_signal_request(
                    id,
                    to_russh(&signal),
                    core_dumped,
                    String::new(),
                    String::new(),
                )
                .await
                .map_err(|()| ChannelClosed)?,
            None => {}
        }
        self.close().await
    }

    /// Closes the channel without the end of the output, so that the client knows that it is not
    /// complete.
    pub(crate) async fn close(&self) -> Result<(), ChannelClosed> {
        let id: ChannelId = self.channel.id();
        self.handle.close(id).await.map_err(|()| ChannelClosed)
    }
}

/// A writer that fails once its channel is closed, where russh's would wait forever for window.
struct Writer<W> {
    inner: Pin<Box<W>>,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    ended: Arc<AtomicBool>,
}

impl<W: AsyncWrite> AsyncWrite for Writer<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.closed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.inner.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut_down = self.inner.as_mut().poll_shutdown(cx);
        if shut_down.is_ready() {
            self.ended.store(true, Ordering::Relaxed);
        }
        shut_down
    }
}
