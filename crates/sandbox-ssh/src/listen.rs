//! Ports inside a sandbox whose connections are served here.
//!
//! They have an SSH connection of their own. russh grants a channel new window as data arrives, so a channel that is not
//! read blocks the others of its connection: those of commands must not be among them. Data is kept in a short queue for
//! each channel; one that takes nothing from its full queue for a while is reset, so that it cannot block the others
//! for ever.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use sandbox_core::{Accept, ByteStream, ConnectionStage, Deadline, Error, PortListener, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::connection::{Connection, IncomingChannel};
use crate::pool::Dialer;

/// Messages with data that wait to be read, besides those in russh's own queue.
const QUEUE: usize = 16;
/// How long a channel may block the others of its connection.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// Listens on a port inside; 0 lets the server choose one.
///
/// # Errors
///
/// [`Connection`](Error::Connection) if the server refuses it.
pub(crate) async fn listen(
    dialer: &Dialer,
    port: u16,
    deadline: Deadline,
) -> Result<(PortListener, Arc<Connection>)> {
    let connection = Arc::new(dialer.dial(deadline, 3).await?);
    let listening = connection.listen(port);
    let Some((port, incoming)) = deadline
        .bound("listening inside the sandbox", listening)
        .await?
    else {
        let message = format!(
            "the server refuses to listen on port {port} inside it for this client: another client may do so already, or \
             a program has taken the port (AllowTcpForwarding, in other servers than sandbox-sshd)"
        );
        return Err(Error::connection(ConnectionStage::Channel, message, None));
    };
    let listener = Listener {
        incoming,
        connection: Arc::clone(&connection),
    };
    Ok((PortListener::new(port, listener), connection))
}

struct Listener {
    incoming: mpsc::Receiver<IncomingChannel>,
    connection: Arc<Connection>,
}

#[async_trait]
impl Accept for Listener {
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        tokio::select! {
            biased;
            () = self.connection.wait_ended() => Ok(None),
            incoming = self.incoming.recv() => {
                let connection = Arc::clone(&self.connection);
                Ok(incoming.map(|incoming| {
                    Box::new(IncomingStream::new(incoming, connection)) as Box<dyn ByteStream>
                }))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing that was accepted outlives the listener, and the port is free for the next client.
        self.connection.kill();
    }
}

/// What a channel delivers.
enum Received {
    Data(Bytes),
    End,
}

/// A connection from inside. Dropping it closes the channel.
struct IncomingStream {
    received: mpsc::Receiver<Received>,
    rest: Bytes,
    is_ended: bool,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// russh's writer waits for its window for ever, also on a connection that has ended.
    connection_ended: Pin<Box<WaitForCancellationFutureOwned>>,
    receiving: AbortHandle,
    closing: Option<Closing>,
}

struct Closing {
    write: ChannelWriteHalf<Msg>,
    connection: Arc<Connection>,
    permit: OwnedSemaphorePermit,
}

impl IncomingStream {
    fn new(incoming: IncomingChannel, connection: Arc<Connection>) -> Self {
        let IncomingChannel { channel, permit } = incoming;
        let (read, write) = channel.split();
        let (sender, received) = mpsc::channel(QUEUE);
        Self {
            received,
            rest: Bytes::new(),
            is_ended: false,
            writer: Box::pin(write.make_writer()),
            connection_ended: Box::pin(connection.kill_switch().ended()),
            receiving: tokio::spawn(receive(read, sender)).abort_handle(),
            closing: Some(Closing {
                write,
                connection,
                permit,
            }),
        }
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

/// Moves data from russh's queue to the stream's. Dropping the sender before the end is a reset.
async fn receive(mut read: ChannelReadHalf, sender: mpsc::Sender<Received>) {
    while let Some(message) = read.wait().await {
        let received = match message {
            ChannelMsg::Data { data } => Received::Data(data),
            ChannelMsg::Eof => Received::End,
            ChannelMsg::Close => return,
            _ => continue,
        };
        match tokio::time::timeout(STALL_LIMIT, sender.send(received)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::debug!(
                    "connection from inside reset: it was not read, and blocked others"
                );
                return;
            }
        }
    }
}

impl AsyncRead for IncomingStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.rest.is_empty() && !self.is_ended {
            match ready!(self.received.poll_recv(cx)) {
                Some(Received::Data(data)) => self.rest = data,
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
        let written = self.writer.as_mut().poll_write(cx, data);
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
        self.receiving.abort();
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
