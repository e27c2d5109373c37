//! A stream to a port of a Pod through the API server: one WebSocket, whose frames start with the number
//! of a channel. Channel 0 carries the bytes, channel 1 an error.
//!
//! kube's own `Portforwarder` moves both directions through one queue, and stops reading from its user
//! while the user does not read. An SSH connection does the same, so with much data in both directions the
//! two wait for each other forever. Here the directions are independent, with buffers for everything that
//! SSH's windows allow the other side to send.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sandbox_core::{BoxError, ConnectionStage, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::errors::AttemptError;
use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::ApiClient;
use crate::api::cluster::{credential_error, redact_credentials};
use crate::api::lost::LostConnection;
use crate::api::request_kind::RequestKind;

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

/// The status of a response that opens a WebSocket, RFC 6455 §4.1.
const SWITCHING_PROTOCOLS: u16 = 101;
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Opens a stream and waits for the server's first bytes, because a port-forward opens even if nothing
/// listens on the port.
pub(super) async fn open(
    api: &ApiClient,
    name: &str,
    port: u16,
) -> Result<Box<dyn sandbox_core::ByteStream>, AttemptError> {
    let opening = async {
        let request = api
            .port_forward_request(name, port)
            .map_err(AttemptError::Fatal)?;
        let measurement = RequestKind::from_request(&request).start_measurement();
        let connection = api.client.connect(request).await;
        let connection = connection.map_err(|error| open_error(api, redact_credentials(error)))?;
        measurement.finish(SWITCHING_PROTOCOLS);
        start(connection.into_stream()).await
    };
    match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(opened) => opened.map(|stream| Box::new(stream) as _),
        Err(_elapsed) => Err(no_data_error(format!(
            "no response through the API server within {OPEN_TIMEOUT:?}"
        ))),
    }
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
async fn start<S>(socket: S) -> Result<PortForward, AttemptError>
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + 'static,
{
    let (sink, mut frames) = socket.split();
    let mut channels = Channels::default();
    let first = loop {
        match channels.decode(frames.next().await) {
            Frame::Data(data) => break data,
            Frame::Empty => {}
            Frame::Closed => {
                return Err(no_data_error(
                    "the API server closed the port-forward".into(),
                ));
            }
            Frame::End(why) => return Err(no_data_error(why)),
        }
    };
    let (incoming, mut inward) = tokio::io::duplex(FROM_POD);
    let (outgoing, outward) = tokio::io::duplex(TO_POD);
    let (alive, dropped) = oneshot::channel::<()>();
    let cut = Arc::new(OnceLock::new());
    let why = Arc::clone(&cut);
    tokio::spawn(async move {
        let up = send_frames(outward, sink);
        let down = async {
            if inward.write_all(&first).await.is_ok() {
                receive_frames(channels, frames, inward, &why).await;
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

/// Sends what is written to the stream, until the stream or the WebSocket ends.
async fn send_frames<S>(mut outward: DuplexStream, mut sink: S)
where
    S: Sink<Message, Error = WsError> + Unpin,
{
    loop {
        let mut frame = BytesMut::with_capacity(FRAME);
        frame.put_u8(DATA);
        match outward.read_buf(&mut frame).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        if let Err(error) = sink.send(Message::Binary(frame.freeze())).await {
            tracing::debug!(%error, "port-forward cut");
            return;
        }
    }
    if let Err(error) = sink.close().await {
        tracing::trace!(%error, "port-forward closed by the API server");
    }
}

/// Passes on the data of frames, until the stream or the WebSocket ends.
async fn receive_frames<S>(
    mut channels: Channels,
    mut frames: S,
    mut inward: DuplexStream,
    cut: &OnceLock<String>,
) where
    S: Stream<Item = Result<Message, WsError>> + Unpin,
{
    loop {
        match channels.decode(frames.next().await) {
            Frame::Data(data) => {
                if inward.write_all(&data).await.is_err() {
                    return;
                }
            }
            Frame::Empty => {}
            Frame::End(why) => {
                tracing::debug!(%why, "port-forward ended");
                // The reason has to be set before the reader sees the end. There is only one.
                drop(cut.set(why));
                return;
            }
            Frame::Closed => {
                tracing::debug!("port-forward closed");
                return;
            }
        }
    }
}

/// The meaning of one frame.
enum Frame {
    Data(Bytes),
    Empty,
    /// The other side has closed the WebSocket properly.
    Closed,
    /// The connection was cut, or the Pod rejected it.
    End(String),
}

/// Which channels have sent their first frame, which contains only the port.
#[derive(Default)]
struct Channels {
    has_started: [bool; 2],
}

impl Channels {
    fn decode(&mut self, frame: Option<Result<Message, WsError>>) -> Frame {
        let mut frame = match frame {
            Some(Ok(Message::Binary(frame))) if !frame.is_empty() => frame,
            Some(Ok(Message::Close(_))) | None => return Frame::Closed,
            Some(Ok(_)) => return Frame::Empty,
            Some(Err(error)) => return Frame::End(error.to_string()),
        };
        let channel = frame.get_u8();
        let Some(has_started) = self.has_started.get_mut(usize::from(channel)) else {
            return Frame::End(format!(
                "the API server sent a frame of unknown channel {channel}"
            ));
        };
        if !std::mem::replace(has_started, true) {
            return Frame::Empty;
        }
        match channel {
            ERROR => Frame::End(String::from_utf8_lossy(&frame).into_owned()),
            _ if frame.is_empty() => Frame::Empty,
            _ => Frame::Data(frame),
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

/// The error of a WebSocket that could not be opened. A missing permission is final; a Pod may become ready
/// later.
fn open_error(api: &ApiClient, error: kube::Error) -> AttemptError {
    if let Some(message) = credential_error(&error) {
        return AttemptError::Fatal(Error::Config { message });
    }
    let code = match &error {
        kube::Error::Api(status) => Some(status.code),
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(
            code,
        )) => Some(code.as_u16()),
        _ => None,
    };
    if matches!(code, Some(401 | 403)) {
        let context = classify::RequestContext {
            intent: Intent::Read,
            verb: "get and create",
            resource: "pods/portforward",
            namespace: &api.namespace,
            id: None,
            attempt: 0,
        };
        if let NextStep::Denied(error) = classify::classify(
            &context,
            &FailedResponse {
                code,
                ..FailedResponse::default()
            },
        ) {
            return if api.outage.is_recent() {
                AttemptError::Transient(error)
            } else {
                AttemptError::Fatal(error)
            };
        }
    }
    let cause: BoxError = if code.is_none() {
        api.outage.record();
        Box::new(LostConnection::from(error))
    } else {
        Box::new(error)
    };
    let message = "the API server did not open a port-forward".to_owned();
    AttemptError::Transient(Error::connection(
        ConnectionStage::Dial,
        message,
        Some(cause),
    ))
}

fn no_data_error(why: String) -> AttemptError {
    AttemptError::Transient(Error::connection(ConnectionStage::Dial, why, None))
}

#[cfg(test)]
mod tests;
