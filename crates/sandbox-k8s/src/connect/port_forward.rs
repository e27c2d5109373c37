//! A stream to a port of a Pod through the API server: one WebSocket, of channels with a number
//! in each frame's first byte. Channel 0 has the bytes, channel 1 an error.
//!
//! kube's own `Portforwarder` moves both directions through one queue, and stops taking what
//! goes in while what comes out is not taken. An SSH connection does the same the other way
//! around, and with much to say both ways the two wait for each other for ever. Here each
//! direction goes by itself, with room for all that SSH's windows let the other side send.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sandbox_core::{ConnectionStage, Error};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::errors::AttemptError;
use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::ApiClient;
use crate::api::cluster::{credential_error, redact_credentials};
use crate::api::request_kind::RequestKind;

/// Room for what comes out: more than all windows of one SSH connection together, which are five
/// channels of 2 MiB for commands, or one of 8 MiB for files. So 10 MiB, and what is about them:
/// each packet has some bytes more, and keys are exchanged anew. It is taken as it is needed. With
/// more than seven channels to a connection, whose user reads none of them, it may not suffice.
const FROM_POD: usize = 16 << 20;
/// Room for what goes in.
const TO_POD: usize = 1 << 20;
/// The largest frame that is sent.
const FRAME: usize = 64 << 10;
/// How long opening may take, to the server's first byte.
const OPEN: Duration = Duration::from_secs(10);
/// How long what was written last has to leave after the stream was dropped.
const LINGER: Duration = Duration::from_secs(5);

/// What opens a WebSocket, RFC 6455 §4.1.
const SWITCHING_PROTOCOLS: u16 = 101;
const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Opens a stream, and waits for the server's first bytes: before them nobody can tell whether
/// anything listens.
pub(super) async fn open(
    api: &ApiClient,
    name: &str,
    port: u16,
) -> Result<Box<dyn sandbox_core::ByteStream>, AttemptError> {
    let opened = async {
        let request = api
            .port_forward_request(name, port)
            .map_err(AttemptError::Fatal)?;
        let asked = RequestKind::from_request(&request).start_measurement();
        let connection = api.client.connect(request).await;
        let connection = connection.map_err(|error| refused(api, redact_credentials(error)))?;
        asked.finish(SWITCHING_PROTOCOLS);
        begin(connection.into_stream()).await
    };
    match tokio::time::timeout(OPEN, opened).await {
        Ok(opened) => opened.map(|stream| Box::new(stream) as _),
        Err(_elapsed) => Err(silent(format!(
            "no answer through the API server within {OPEN:?}"
        ))),
    }
}

/// The near end of a stream.
#[derive(Debug)]
struct Forward {
    incoming: DuplexStream,
    /// Why it was cut; what came before is read first.
    cut: Arc<OnceLock<String>>,
    outgoing: DuplexStream,
    /// Its end tells the pump that nobody reads any more.
    _alive: oneshot::Sender<()>,
}

async fn begin<S>(socket: S) -> Result<Forward, AttemptError>
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + 'static,
{
    let (sink, mut frames) = socket.split();
    let mut channels = Channels::default();
    let first = loop {
        match channels.take(frames.next().await) {
            Taken::Data(data) => break data,
            Taken::Nothing => {}
            Taken::Closed => return Err(silent("the API server closed it".into())),
            Taken::End(why) => return Err(silent(why)),
        }
    };
    let (incoming, mut inward) = tokio::io::duplex(FROM_POD);
    let (outgoing, outward) = tokio::io::duplex(TO_POD);
    let (alive, dropped) = oneshot::channel::<()>();
    let cut = Arc::new(OnceLock::new());
    let why = Arc::clone(&cut);
    tokio::spawn(async move {
        let up = upward(outward, sink);
        let down = async {
            if inward.write_all(&first).await.is_ok() {
                downward(channels, frames, inward, &why).await;
            }
        };
        let abandoned = async {
            // Nothing is ever sent: its end is the news.
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
    Ok(Forward {
        incoming,
        cut,
        outgoing,
        _alive: alive,
    })
}

async fn upward<S>(mut outward: DuplexStream, mut sink: S)
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
            tracing::debug!(%error, "a port-forward was cut");
            return;
        }
    }
    if let Err(error) = sink.close().await {
        tracing::trace!(%error, "a port-forward was closed by the other side first");
    }
}

async fn downward<S>(
    mut channels: Channels,
    mut frames: S,
    mut inward: DuplexStream,
    cut: &OnceLock<String>,
) where
    S: Stream<Item = Result<Message, WsError>> + Unpin,
{
    loop {
        match channels.take(frames.next().await) {
            Taken::Data(data) => {
                if inward.write_all(&data).await.is_err() {
                    return;
                }
            }
            Taken::Nothing => {}
            Taken::End(why) => {
                tracing::debug!(%why, "a port-forward has ended");
                // Before its end is read; there is one end.
                drop(cut.set(why));
                return;
            }
            Taken::Closed => {
                tracing::debug!("a port-forward was closed");
                return;
            }
        }
    }
}

/// What a frame turned out to be.
enum Taken {
    Data(Bytes),
    Nothing,
    /// As it should be: the other side has said that it ends.
    Closed,
    /// Cut, or refused.
    End(String),
}

/// Which channels have told their port: that is in each one's first frame.
#[derive(Default)]
struct Channels {
    begun: [bool; 2],
}

impl Channels {
    fn take(&mut self, frame: Option<Result<Message, WsError>>) -> Taken {
        let mut frame = match frame {
            Some(Ok(Message::Binary(frame))) if !frame.is_empty() => frame,
            Some(Ok(Message::Close(_))) | None => return Taken::Closed,
            Some(Ok(_)) => return Taken::Nothing,
            Some(Err(error)) => return Taken::End(error.to_string()),
        };
        let channel = frame.get_u8();
        let Some(begun) = self.begun.get_mut(usize::from(channel)) else {
            return Taken::End(format!("the API server speaks of a channel {channel}"));
        };
        if !std::mem::replace(begun, true) {
            return Taken::Nothing;
        }
        match channel {
            ERROR => Taken::End(String::from_utf8_lossy(&frame).into_owned()),
            _ if frame.is_empty() => Taken::Nothing,
            _ => Taken::Data(frame),
        }
    }
}

impl AsyncRead for Forward {
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

impl AsyncWrite for Forward {
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

/// Says who refused it: rights do not come by asking again, and a Pod may yet be ready.
fn refused(api: &ApiClient, error: kube::Error) -> AttemptError {
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
        let about = classify::RequestContext {
            intent: Intent::Read,
            verb: "get and create",
            resource: "pods/portforward",
            namespace: &api.namespace,
            id: None,
            attempt: 0,
        };
        if let NextStep::Denied(error) = classify::classify(
            &about,
            &FailedResponse {
                code,
                ..FailedResponse::default()
            },
        ) {
            let starting = api.outage.is_recent();
            return if starting {
                AttemptError::Transient(error)
            } else {
                AttemptError::Fatal(error)
            };
        }
    }
    if code.is_none() {
        api.outage.record();
    }
    let message = "the API server did not open a port-forward".to_owned();
    AttemptError::Transient(Error::connection(
        ConnectionStage::Dial,
        message,
        Some(Box::new(error)),
    ))
}

fn silent(why: String) -> AttemptError {
    AttemptError::Transient(Error::connection(ConnectionStage::Dial, why, None))
}

#[cfg(test)]
mod tests;
