//! Hostile and faulty servers.

mod downloads;
mod uploads;

use std::time::Duration;

use bytes::BytesMut;
use sandbox_core::tree_stream::{Attributes, Failure, Frame, take_frame};
use sandbox_core::{Direction, Error, Result, TransferReason, TreeChannel};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Of a server that is silent.
const SHORT: Duration = Duration::from_millis(300);

/// The far end of a channel.
struct Server {
    stream: DuplexStream,
    received: BytesMut,
}

impl Server {
    fn new() -> (TreeChannel, Self) {
        Self::with_timeout(TIMEOUT)
    }

    fn with_timeout(timeout: Duration) -> (TreeChannel, Self) {
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = Self {
            stream: far,
            received: BytesMut::new(),
        };
        (TreeChannel::new(near, timeout), server)
    }

    /// Sends frames. The client may end at any of them.
    async fn send(&mut self, frames: &[Frame<'_>]) {
        let mut bytes = Vec::new();
        for frame in frames {
            frame.encode(&mut bytes);
        }
        self.stream.write_all(&bytes).await.ok();
    }

    /// Receives a frame with its length; `None` once the client has ended.
    async fn receive(&mut self) -> Option<(Vec<u8>, u64)> {
        loop {
            if let Some(frame) = take_frame(&mut self.received).unwrap() {
                let length = frame.len() as u64 + 4;
                return Some((frame.to_vec(), length));
            }
            if self.stream.read_buf(&mut self.received).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }
}

fn directory(name: &[u8]) -> Frame<'_> {
    let attributes = Attributes {
        mode: Some(0o755),
        modified: None,
    };
    Frame::Directory { name, attributes }
}

fn file<'a>(name: &'a [u8], content: &'a [u8]) -> Frame<'a> {
    Frame::File {
        name,
        attributes: Attributes::default(),
        size: content.len() as u64,
        is_whole: true,
        content,
    }
}

fn failure(reason: TransferReason, message: &[u8]) -> Failure<'_> {
    Failure {
        direction: Direction::Inside,
        reason,
        message,
    }
}

fn reason<T: std::fmt::Debug>(result: Result<T>) -> (TransferReason, String) {
    match result {
        Err(Error::Transfer(error)) => (error.reason, error.message),
        other => panic!("{other:?}"),
    }
}
