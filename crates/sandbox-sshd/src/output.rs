//! The sending side of one channel.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use russh::server::{Handle, Msg};
use russh::{ChannelId, ChannelWriteHalf, Sig};
use sandbox_core::Signal;
use tokio::io::AsyncWrite;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::transport::{Gate, WaitingForClient};

/// The client can no longer be reached on this channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lost;

/// How long sending may take before the client is waited for.
const PATIENCE: Duration = Duration::from_millis(5);
/// SSH_EXTENDED_DATA_STDERR, RFC 4254 §5.2.
const STDERR: u32 = 1;

/// How a command ended, as SSH says it (RFC 4254 §6.10).
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
            // wait() reports only ends.
            (None, None) => Self::Code(255),
        }
    }
}

/// Sends data as the client's window allows, and says how a command ended.
///
/// Sending waits for ever when the connection dies while the window is closed: race it
/// against [`InboxReader::gone`](crate::inbox::InboxReader::gone).
pub(crate) struct Output {
    channel: ChannelWriteHalf<Msg>,
    handle: Handle,
    gate: Arc<Gate>,
}

impl Output {
    pub(crate) fn new(channel: ChannelWriteHalf<Msg>, handle: Handle, gate: Arc<Gate>) -> Self {
        Self {
            channel,
            handle,
            gate,
        }
    }

    pub(crate) async fn stdout(&self, data: Bytes) -> Result<(), Lost> {
        self.send(data, None).await
    }

    pub(crate) async fn stderr(&self, data: Bytes) -> Result<(), Lost> {
        self.send(data, Some(STDERR)).await
    }

    async fn send(&self, data: Bytes, stream: Option<u32>) -> Result<(), Lost> {
        let sending = async {
            match stream {
                None => self.channel.data_bytes(data).await,
                Some(stream) => self.channel.extended_data_bytes(stream, data).await,
            }
        };
        self.patiently(sending).await.map_err(|_| Lost)
    }

    /// Whatever holds sending up, a message of the client ends it: new window, or its part of
    /// new keys. So nothing may hold up reading meanwhile.
    async fn patiently<T>(&self, sending: impl Future<Output = T>) -> T {
        tokio::pin!(sending);
        tokio::select! {
            biased;
            sent = &mut sending => return sent,
            () = tokio::time::sleep(PATIENCE) => {}
        }
        let _waiting = self.gate.wait_for_client();
        sending.await
    }

    /// A message of the server itself, among the command's errors.
    pub(crate) async fn complain(&self, message: &str) -> Result<(), Lost> {
        self.stderr(format!("sandbox-sshd: {message}\n").into())
            .await
    }

    /// Standard output as a stream, which breaks when the client has gone.
    pub(crate) fn writer(
        &self,
        gone: CancellationToken,
    ) -> impl AsyncWrite + Send + Unpin + 'static {
        let (inner, gone) = (
            Box::pin(self.channel.make_writer()),
            Box::pin(gone.cancelled_owned()),
        );
        Writer {
            inner,
            gone,
            gate: Arc::clone(&self.gate),
            waiting: None,
        }
    }

    pub(crate) async fn eof(&self) -> Result<(), Lost> {
        self.patiently(self.channel.eof()).await.map_err(|_| Lost)
    }

    /// Says that there is no more output, how it ended if it has, and closes.
    pub(crate) async fn finish(&self, exit: Option<Exit>) -> Result<(), Lost> {
        self.patiently(self.finish_now(exit)).await
    }

    async fn finish_now(&self, exit: Option<Exit>) -> Result<(), Lost> {
        let id: ChannelId = self.channel.id();
        self.channel.eof().await.map_err(|_| Lost)?;
        match exit {
            Some(Exit::Code(code)) => self
                .handle
                .exit_status_request(id, code)
                .await
                .map_err(|()| Lost)?,
            Some(Exit::Signal {
                signal,
                core_dumped,
            }) => self
                .handle
                .exit_signal_request(id, sig(&signal), core_dumped, String::new(), String::new())
                .await
                .map_err(|()| Lost)?,
            None => {}
        }
        self.handle.close(id).await.map_err(|()| Lost)
    }
}

fn sig(signal: &Signal) -> Sig {
    match signal {
        Signal::Abrt => Sig::ABRT,
        Signal::Alrm => Sig::ALRM,
        Signal::Fpe => Sig::FPE,
        Signal::Hup => Sig::HUP,
        Signal::Ill => Sig::ILL,
        Signal::Int => Sig::INT,
        Signal::Kill => Sig::KILL,
        Signal::Pipe => Sig::PIPE,
        Signal::Quit => Sig::QUIT,
        Signal::Segv => Sig::SEGV,
        Signal::Term => Sig::TERM,
        Signal::Usr1 => Sig::USR1,
        other => Sig::Custom(other.name().to_owned()),
    }
}

/// russh's writer waits for ever for the window of a channel that is no more.
struct Writer<W> {
    inner: Pin<Box<W>>,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    gate: Arc<Gate>,
    waiting: Option<WaitingForClient>,
}

impl<W: AsyncWrite> AsyncWrite for Writer<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.gone.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let written = self.inner.as_mut().poll_write(cx, buf);
        if written.is_ready() {
            self.waiting = None;
        } else if self.waiting.is_none() {
            self.waiting = Some(self.gate.wait_for_client());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_shutdown(cx)
    }
}
