//! A port-forward as one WebSocket, whose frames start with the number of a channel. Channel 0 carries the bytes,
//! channel 1 an error.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::frames::{Incoming, Receiver, Sender};
use crate::api::client::ApiClient;
use crate::connect::refusal::Refusal;
use crate::connect::websocket;

const DATA: u8 = 0;
const ERROR: u8 = 1;

/// Opens a WebSocket to a port of a Pod.
pub(super) async fn open(
    api: &ApiClient,
    name: &str,
    port: u16,
) -> Result<(impl Receiver + use<>, impl Sender + use<>), Refusal> {
    let request = api
        .port_forward_request(name, port)
        .map_err(Refusal::Final)?;
    Ok(split(websocket::open(api, request).await?))
}

/// Splits an open WebSocket.
pub(super) fn split<S>(socket: S) -> (FrameReceiver<S>, FrameSender<S>)
where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError>,
{
    let (sink, frames) = socket.split();
    let receiver = FrameReceiver {
        frames,
        has_started: [false; 2],
    };
    (receiver, FrameSender { sink })
}

pub(super) struct FrameReceiver<S> {
    frames: SplitStream<S>,
    /// Which channels have sent their first frame, which contains only the port.
    has_started: [bool; 2],
}

impl<S> FrameReceiver<S> {
    fn decode(&mut self, frame: Option<Result<Message, WsError>>) -> Incoming {
        let mut frame = match frame {
            Some(Ok(Message::Binary(frame))) if !frame.is_empty() => frame,
            Some(Ok(Message::Close(_))) | None => return Incoming::Closed,
            Some(Ok(_)) => return Incoming::Nothing,
            Some(Err(error)) => return Incoming::End(error.to_string()),
        };
        let channel = frame.get_u8();
        let Some(has_started) = self.has_started.get_mut(usize::from(channel)) else {
            return Incoming::End(format!(
                "the API server sent a frame of unknown channel {channel}"
            ));
        };
        if !std::mem::replace(has_started, true) {
            return Incoming::Nothing;
        }
        match channel {
            ERROR => Incoming::End(String::from_utf8_lossy(&frame).into_owned()),
            _ if frame.is_empty() => Incoming::Nothing,
            _ => Incoming::Data(frame),
        }
    }
}

impl<S> Receiver for FrameReceiver<S>
where
    S: Stream<Item = Result<Message, WsError>> + Send,
{
    async fn next(&mut self) -> Incoming {
        let frame = self.frames.next().await;
        self.decode(frame)
    }
}

pub(super) struct FrameSender<S> {
    sink: SplitSink<S, Message>,
}

impl<S> Sender for FrameSender<S>
where
    S: Sink<Message, Error = WsError> + Send,
{
    const HEADER: usize = 1;

    async fn send(&mut self, mut frame: BytesMut) -> io::Result<()> {
        if let Some(channel) = frame.first_mut() {
            *channel = DATA;
        }
        let sent = self.sink.send(Message::Binary(frame.freeze())).await;
        sent.map_err(io::Error::other)
    }

    /// The library answers pings itself.
    async fn next_answer(&mut self) -> Bytes {
        std::future::pending().await
    }

    async fn answer(&mut self, _answer: Bytes) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> io::Result<()> {
        self.sink.close().await.map_err(io::Error::other)
    }
}
