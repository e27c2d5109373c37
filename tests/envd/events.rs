//! The stream of a process's events.

use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::exchange::{Connection, PATIENCE, Sent};

/// A frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    Message(Value),
    /// The last one.
    End(Value),
}

/// A stream of frames. Dropping it closes the connection.
pub(crate) struct Events {
    body: Incoming,
    received: BytesMut,
    _connection: Connection,
}

impl Events {
    /// Checks that this response is a stream.
    pub(crate) fn new((response, connection): Sent) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "application/connect+json"
        );
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self {
            body: response.into_body(),
            received: BytesMut::new(),
            _connection: connection,
        }
    }

    /// Waits for the next frame.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.try_next().await.unwrap()
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Frame>, hyper::Error> {
        loop {
            if let Some((flags, length)) =
                self.received.split_first_chunk::<5>().map(|(head, _)| {
                    let [flags, length @ ..] = *head;
                    (flags, u32::from_be_bytes(length) as usize)
                })
                && self.received.len() >= 5 + length
            {
                self.received.advance(5);
                let json = serde_json::from_slice(&self.received.split_to(length)).unwrap();
                return Ok(Some(match flags {
                    0 => Frame::Message(json),
                    2 => Frame::End(json),
                    other => panic!("flags {other}"),
                }));
            }
            let more = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match more.expect("a frame in time") {
                None => {
                    assert!(self.received.is_empty(), "{:?}", self.received);
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// Waits for the next message.
    pub(crate) async fn message(&mut self) -> Value {
        match self.next().await {
            Some(Frame::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the start of a process, and returns its pid.
    pub(crate) async fn pid(&mut self) -> u64 {
        let message = self.message().await;
        message["event"]["start"]["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("{message}"))
    }

    /// Waits until what was written contains this.
    pub(crate) async fn wait_for(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let message = self.message().await;
            let data = &message["event"]["data"];
            for stream in ["stdout", "stderr", "pty"] {
                if let Some(encoded) = data[stream].as_str() {
                    all.push_str(&String::from_utf8_lossy(&decode(encoded)));
                }
            }
        }
        all
    }

    /// Waits for the end of the stream.
    pub(crate) async fn collect(mut self) -> Collected {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(Frame::Message(message)) => messages.push(message),
                Some(Frame::End(end)) => {
                    assert_eq!(self.next().await, None, "nothing follows the end");
                    return Collected { messages, end };
                }
                None => panic!("the stream has no end: {messages:?}"),
            }
        }
    }
}

/// All of a stream.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) messages: Vec<Value>,
    pub(crate) end: Value,
}

impl Collected {
    pub(crate) fn stdout(&self) -> String {
        self.text("stdout")
    }

    pub(crate) fn text(&self, stream: &str) -> String {
        String::from_utf8(self.data(stream)).unwrap()
    }

    pub(crate) fn data(&self, stream: &str) -> Vec<u8> {
        self.messages
            .iter()
            .filter_map(|message| message["event"]["data"][stream].as_str())
            .flat_map(decode)
            .collect()
    }

    /// How the process ended.
    pub(crate) fn process_end(&self) -> &Value {
        let end = &self.messages.last().unwrap()["event"]["end"];
        assert!(end.is_object(), "{self:?}");
        end
    }

    /// The code of the error that ended the stream.
    pub(crate) fn code(&self) -> &str {
        self.end["error"]["code"].as_str().unwrap_or("")
    }
}

pub(crate) fn encode(content: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(content)
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}
