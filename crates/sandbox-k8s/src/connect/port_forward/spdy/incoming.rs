//! The frames that are received.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::super::frames::{Incoming, Receiver};
use super::{DATA_STREAM, ERROR_STREAM};

/// How much is read at once.
const READ: usize = 64 << 10;
/// The length of the header of any frame.
const HEADER: usize = 8;
/// The largest control frame: the responses to both streams have few headers.
const MAX_CONTROL: usize = 64 << 10;
/// How much is kept of an error.
const MAX_ERROR: usize = 4 << 10;
/// How long the error may come after the end of the data: containerd closes the data first.
const ERROR_TIMEOUT: Duration = Duration::from_secs(1);

const VERSION_3: u16 = 3;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const FIN: u8 = 1;

/// Reads the frames of one connection. All of them are untrusted, so it keeps no more of any than it needs.
pub(super) struct FrameReceiver<R> {
    read: R,
    buffer: BytesMut,
    /// What is left of the current frame.
    current: Current,
    error: Vec<u8>,
    /// Whether nothing more comes on the stream of the error, and on that of the data.
    error_has_ended: bool,
    data_has_ended: bool,
    pings: mpsc::Sender<Bytes>,
}

/// The frame that is being read.
enum Current {
    None,
    Data {
        stream: u32,
        is_last: bool,
        left: usize,
    },
    Control {
        kind: u16,
        length: usize,
    },
}

impl<R> FrameReceiver<R> {
    pub(super) fn new(read: R, pings: mpsc::Sender<Bytes>) -> Self {
        Self {
            read,
            buffer: BytesMut::new(),
            current: Current::None,
            error: Vec::new(),
            error_has_ended: false,
            data_has_ended: false,
            pings,
        }
    }

    /// Decodes what is in the buffer. Returns `None` if more has to be read for it.
    fn decode(&mut self) -> Option<Incoming> {
        loop {
            match self.current {
                Current::None => {
                    if let Err(why) = self.start_frame()? {
                        return Some(Incoming::End(why));
                    }
                }
                Current::Data {
                    stream,
                    is_last,
                    left,
                } => {
                    if left > 0 && self.buffer.is_empty() {
                        return None;
                    }
                    let data = self.buffer.split_to(left.min(self.buffer.len()));
                    let left = left - data.len();
                    self.current = match left {
                        0 => Current::None,
                        left => Current::Data {
                            stream,
                            is_last,
                            left,
                        },
                    };
                    if let Some(incoming) =
                        self.take_data(stream, data.freeze(), is_last && left == 0)
                    {
                        return Some(incoming);
                    }
                }
                Current::Control { kind, length } => {
                    if self.buffer.len() < length {
                        return None;
                    }
                    let payload = self.buffer.split_to(length).freeze();
                    self.current = Current::None;
                    if let Some(incoming) = self.take_control(kind, payload) {
                        return Some(incoming);
                    }
                }
            }
        }
    }

    /// Reads the header of a frame. Returns `None` if it is not complete.
    fn start_frame(&mut self) -> Option<Result<(), String>> {
        if self.buffer.len() < HEADER {
            return None;
        }
        let first = self.buffer.get_u32();
        let second = self.buffer.get_u32();
        let (flags, length) = ((second >> 24) as u8, (second & 0x00ff_ffff) as usize);
        if first >> 31 == 0 {
            self.current = Current::Data {
                stream: first,
                is_last: flags & FIN != 0,
                left: length,
            };
            return Some(Ok(()));
        }
        let version = ((first >> 16) & 0x7fff) as u16;
        if version != VERSION_3 || length > MAX_CONTROL {
            return Some(Err(format!(
                "the API server sent an invalid frame (version {version}, {length} bytes)"
            )));
        }
        self.current = Current::Control {
            kind: (first & 0xffff) as u16,
            length,
        };
        Some(Ok(()))
    }

    fn take_data(&mut self, stream: u32, data: Bytes, is_last: bool) -> Option<Incoming> {
        match stream {
            DATA_STREAM if !data.is_empty() => {
                if is_last {
                    // Its end is delivered next.
                    self.current = Current::Data {
                        stream,
                        is_last,
                        left: 0,
                    };
                }
                Some(Incoming::Data(data))
            }
            DATA_STREAM => {
                self.data_has_ended |= is_last;
                self.closed()
            }
            ERROR_STREAM => {
                self.error_has_ended |= is_last;
                let room = MAX_ERROR.saturating_sub(self.error.len());
                self.error.extend(data.iter().take(room));
                let is_whole = is_last || matches!(self.current, Current::None);
                if is_whole && !self.error.is_empty() {
                    let error = String::from_utf8_lossy(&self.error).into_owned();
                    return Some(Incoming::End(error));
                }
                self.closed()
            }
            other => Some(Incoming::End(format!(
                "the API server sent data of unknown stream {other}"
            ))),
        }
    }

    /// Returns the end of the stream, if both its data and its errors have ended.
    fn closed(&self) -> Option<Incoming> {
        (self.data_has_ended && self.error_has_ended).then_some(Incoming::Closed)
    }

    fn take_control(&mut self, kind: u16, mut payload: Bytes) -> Option<Incoming> {
        match kind {
            RST_STREAM => {
                let stream = payload.try_get_u32().unwrap_or_default();
                let status = payload.try_get_u32().unwrap_or_default();
                Some(Incoming::End(format!(
                    "the API server reset stream {stream} of the port-forward (status {status})"
                )))
            }
            PING => {
                let mut answer = BytesMut::with_capacity(HEADER + payload.len());
                answer.put_u16(0x8000 | VERSION_3);
                answer.put_u16(PING);
                // A ping has four bytes, and no flags.
                answer.put_u32(4);
                answer.put_u32(payload.try_get_u32().unwrap_or_default());
                // The numbers of a server's pings are even. A server that sends so many that they do not fit gets
                // no answer to the rest.
                let is_of_the_server = answer.last().is_some_and(|last| last % 2 == 0);
                if is_of_the_server && self.pings.try_send(answer.freeze()).is_err() {
                    tracing::debug!("ping of a port-forward not answered");
                }
                None
            }
            // Replies to both streams, settings, windows and a GOAWAY, after which the connection ends.
            _ => None,
        }
    }
}

impl<R> Receiver for FrameReceiver<R>
where
    R: AsyncRead + Unpin + Send,
{
    async fn next(&mut self) -> Incoming {
        loop {
            if let Some(incoming) = self.decode() {
                return incoming;
            }
            self.buffer.reserve(READ);
            let reading = self.read.read_buf(&mut self.buffer);
            let read = if self.data_has_ended {
                // Without an error, the data has ended as it should.
                tokio::time::timeout(ERROR_TIMEOUT, reading)
                    .await
                    .unwrap_or(Ok(0))
            } else {
                reading.await
            };
            match read {
                Ok(0) if self.data_has_ended => return Incoming::Closed,
                Ok(0) => return Incoming::End("the API server cut the connection".into()),
                Ok(_) => {}
                Err(error) => return Incoming::End(error.to_string()),
            }
        }
    }
}
