//! A stream to a port of a Pod through the API server, over SPDY, or over a WebSocket if the API server or a proxy
//! before it does not accept SPDY.
//!
//! kube's own `Portforwarder` moves both directions through one queue, and stops reading from its user
//! while the user does not read. An SSH connection does the same, so with much data in both directions the
//! two wait for each other forever. Here the directions are independent, with buffers for everything that
//! SSH's windows allow the other side to send.

mod errors;
mod frames;
mod protocol;
mod spdy;
mod websocket;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::oneshot;

use super::errors::AttemptError;
use crate::api::client::ApiClient;
use errors::{attempt_error, may_be_of_the_protocol, no_data_error};
use frames::{Incoming, Receiver, Sender};
use protocol::Protocol;

pub(super) use protocol::ProtocolChoice;

/// The buffer for bytes from the Pod: more than all windows of one SSH connection together, which are five
/// channels of 2 MiB for commands, or one of 8 MiB for files. That is 10 MiB, plus the overhead of packets
/// and of key exchanges. Memory is allocated when it is needed. The buffer may be too small for a connection
/// with more than seven channels whose user reads none of them.
const FROM_POD: usize = 16 << 20;
/// The buffer for bytes to the Pod.
const TO_POD: usize = 1 << 20;
/// The largest frame that is sent.
const FRAME: usize = 64 << 10;
/// Timeout of opening a stream, until the server's first byte.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last bytes may take to leave after the stream was dropped.
const LINGER: Duration = Duration::from_secs(5);

/// Opens a stream and waits for the server's first bytes, because a port-forward opens even if nothing
/// listens on the port.
pub(super) async fn open(
    api: &ApiClient,
    choice: &ProtocolChoice,
    name: &str,
    port: u16,
) -> Result<Box<dyn sandbox_core::ByteStream>, AttemptError> {
    let opening = async {
        let refused = match choice.get() {
            Protocol::WebSocket => return open_websocket(api, choice, name, port).await,
            Protocol::Spdy => match spdy::open(api, name, port).await {
                Ok((receiver, sender)) => return start(receiver, sender).await,
                Err(refused) => refused,
            },
        };
        if !may_be_of_the_protocol(&refused) {
            return Err(attempt_error(api, refused));
        }
        tracing::debug!("port-forward over SPDY refused; trying a WebSocket");
        open_websocket(api, choice, name, port).await
    };
    match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(opened) => opened.map(|stream| Box::new(stream) as _),
        Err(_elapsed) => Err(no_data_error(format!(
            "no response through the API server within {OPEN_TIMEOUT:?}"
        ))),
    }
}

async fn open_websocket(
    api: &ApiClient,
    choice: &ProtocolChoice,
    name: &str,
    port: u16,
) -> Result<PortForward, AttemptError> {
    let opened = websocket::open(api, name, port).await;
    let (receiver, sender) = opened.map_err(|refused| attempt_error(api, refused))?;
    choice.set(Protocol::WebSocket);
    start(receiver, sender).await
}

/// The local end of a stream.
#[derive(Debug)]
struct PortForward {
    incoming: DuplexStream,
    /// Why the stream was cut. Bytes that arrived before are read first.
    cut: Arc<OnceLock<String>>,
    outgoing: DuplexStream,
    /// Dropping this ends the task that moves bytes.
    _alive: oneshot::Sender<()>,
}

/// Waits for the first data, and starts the task that moves bytes in both directions.
async fn start(
    mut receiver: impl Receiver + 'static,
    sender: impl Sender + 'static,
) -> Result<PortForward, AttemptError> {
    let first = loop {
        match receiver.next().await {
            Incoming::Data(data) => break data,
            Incoming::Nothing => {}
            Incoming::Closed => {
                return Err(no_data_error(
                    "the API server closed the port-forward".into(),
                ));
            }
            Incoming::End(why) => return Err(no_data_error(why)),
        }
    };
    let (incoming, mut inward) = tokio::io::duplex(FROM_POD);
    let (outgoing, outward) = tokio::io::duplex(TO_POD);
    let (alive, dropped) = oneshot::channel::<()>();
    let cut = Arc::new(OnceLock::new());
    let why = Arc::clone(&cut);
    tokio::spawn(async move {
        let up = send_frames(outward, sender);
        let down = async {
            if inward.write_all(&first).await.is_ok() {
                receive_frames(receiver, inward, &why).await;
            }
        };
        let abandoned = async {
            // Nothing is ever sent; the receiver returns when the stream is dropped.
            dropped.await.err();
            tokio::time::sleep(LINGER).await;
        };
        tokio::pin!(up, down);
        tokio::select! {
            () = &mut down => {}
            () = &mut up => tokio::select! { () = &mut down => {}, () = tokio::time::sleep(LINGER) => {} },
            () = abandoned => {}
        }
    });
    Ok(PortForward {
        incoming,
        cut,
        outgoing,
        _alive: alive,
    })
}

/// Sends what is written to the stream, until the stream or the connection ends.
async fn send_frames<S: Sender>(mut outward: DuplexStream, mut sender: S) {
    let mut frame = BytesMut::new();
    loop {
        if frame.is_empty() {
            frame.reserve(FRAME);
            frame.resize(S::HEADER, 0);
        }
        let sent = tokio::select! {
            read = outward.read_buf(&mut frame) => match read {
                Ok(0) | Err(_) => break,
                Ok(_) => sender.send(std::mem::take(&mut frame)).await,
            },
            answer = sender.next_answer() => sender.answer(answer).await,
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "port-forward cut");
            return;
        }
    }
    if let Err(error) = sender.close().await {
        tracing::trace!(%error, "port-forward closed by the API server");
    }
}

/// Passes on the data of frames, until the stream or the connection ends.
async fn receive_frames(
    mut receiver: impl Receiver,
    mut inward: DuplexStream,
    cut: &OnceLock<String>,
) {
    loop {
        match receiver.next().await {
            Incoming::Data(data) => {
                if inward.write_all(&data).await.is_err() {
                    return;
                }
            }
            Incoming::Nothing => {}
            Incoming::End(why) => {
                tracing::debug!(%why, "port-forward ended");
                // The reason has to be set before the reader sees the end. There is only one.
                drop(cut.set(why));
                return;
            }
            Incoming::Closed => {
                tracing::debug!("port-forward closed");
                return;
            }
        }
    }
}

impl AsyncRead for PortForward {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.incoming).poll_read(cx, buf))?;
        match self.cut.get() {
            Some(why) if buf.filled().len() == before && buf.remaining() > 0 => Poll::Ready(Err(
                io::Error::new(io::ErrorKind::ConnectionReset, why.clone()),
            )),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for PortForward {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.outgoing).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod tests;
