//! A channel for one operation of the guest protocol.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;

use super::incoming_frames::IncomingFrames;
use super::part_reader::PartReader;
use crate::guest::{Frame, FrameKind, GuestRequest, Refusal, WINDOW, put_frame};
use crate::{ByteStream, ConnectionStage, Error, Escaped, PartStream, Result};

/// The most bytes of content in one frame.
const MAX_CONTENT: usize = 64 << 10;
/// How much content is taken before the server is told.
const TAKEN_STEP: usize = WINDOW / 4;
/// How many characters of a refusal's message are kept.
const MAX_MESSAGE: usize = 2048;

/// A channel for one operation of the [guest protocol](crate::guest). Dropping it cancels the operation.
#[non_exhaustive]
pub struct GuestChannel {
    stream: Box<dyn PartStream>,
    timeout: Duration,
    incoming: IncomingFrames,
    /// What is to be sent before anything is waited for.
    outgoing: BytesMut,
    /// Content that was taken, and of which the server was not told.
    taken: usize,
    /// Why the rest of what was to be sent was not. What has arrived by then is still read.
    unsent: Option<Error>,
    is_ended: bool,
}

/// The next frame of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GuestFrame {
    /// A frame. Content is handed out as it arrives: one frame of it may become several.
    Frame(Frame),
    /// The server does not carry the operation out. Nothing follows.
    Refused(Refusal),
}

impl GuestChannel {
    /// Creates a channel over this stream, on which nothing was sent yet. The server may take as long as
    /// `timeout` to answer what it answers at once. An [`Error`] inside an [`io::Error`] of the stream is returned as it is.
    pub fn new(stream: impl ByteStream, timeout: Duration) -> Self {
        Self::from_parts(PartReader::new(stream), timeout)
    }

    /// As [`new`](Self::new), over a stream whose content is handed out without a copy.
    pub fn from_parts(stream: impl PartStream, timeout: Duration) -> Self {
        Self {
            stream: Box::new(stream),
            timeout,
            incoming: IncomingFrames::default(),
            outgoing: BytesMut::new(),
            taken: 0,
            unsent: None,
            is_ended: false,
        }
    }

    /// Sends the request, which is the first frame.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection), and [`Invalid`](Error::Invalid) if it is longer than a frame.
    pub async fn request(&mut self, request: &GuestRequest) -> Result<()> {
        self.send_message(request).await
    }

    /// Sends a message.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub async fn send_message(&mut self, message: &impl Serialize) -> Result<()> {
        let json = serde_json::to_vec(message)
            .map_err(|error| Error::invalid("request", "(not shown)", error.to_string()))?;
        self.send(FrameKind::Message, &json).await
    }

    /// Sends content, in as many frames as it needs.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection).
    pub async fn send_content(&mut self, content: &[u8]) -> Result<()> {
        for part in content.chunks(MAX_CONTENT) {
            self.send(FrameKind::Content, part).await?;
        }
        Ok(())
    }

    /// Says that the content is complete.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection).
    pub async fn finish_content(&mut self) -> Result<()> {
        self.send(FrameKind::ContentEnd, &[]).await
    }

    /// Waits for the next frame, however long that takes; `None` if the server has closed the channel. Dropping
    /// the future loses nothing.
    ///
    /// # Errors
    ///
    /// [`Connection`](Error::Connection), also for what violates the protocol.
    pub async fn next(&mut self) -> Result<Option<GuestFrame>> {
        loop {
            let taken = self.incoming.take().map_err(|error| lost(error.into()))?;
            if let Some(frame) = taken {
                return match frame.kind {
                    FrameKind::Refusal => {
                        self.is_ended = true;
                        let refusal = parse(&frame.payload)?;
                        Ok(Some(GuestFrame::Refused(make_safe(refusal))))
                    }
                    kind => {
                        if kind.is_content() {
                            self.add_taken(frame.payload.len());
                        }
                        Ok(Some(GuestFrame::Frame(frame)))
                    }
                };
            }
            if self.is_ended {
                return Ok(None);
            }
            // A server that has refused an operation reads nothing more, and its refusal is still to be read.
            if let Err(error) = self.flush_outgoing().await {
                self.outgoing.clear();
                self.unsent = Some(error);
            }
            let read = std::future::poll_fn(|cx| self.stream.poll_part(cx)).await;
            match read.map_err(lost)? {
                Some(part) => self.incoming.push(part),
                None => {
                    self.is_ended = true;
                    if let Some(error) = self.unsent.take() {
                        return Err(error);
                    }
                    if self.incoming.is_in_frame() {
                        return Err(lost(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }

    /// As [`next`](Self::next), and not longer than the timeout.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn next_at_once(&mut self) -> Result<Option<GuestFrame>> {
        let timeout = self.timeout;
        let next = tokio::time::timeout(timeout, self.next());
        next.await.map_err(|_elapsed| no_answer(timeout))?
    }

    /// Waits for the next frame, which has to be a message, and not longer than the timeout.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), and [`Refused`](Error::Refused) if the server refuses the operation.
    pub async fn reply<T: DeserializeOwned>(&mut self) -> Result<T> {
        into_reply(self.next_at_once().await?)
    }

    /// As [`reply`](Self::reply), however long that takes.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub async fn reply_whenever<T: DeserializeOwned>(&mut self) -> Result<T> {
        into_reply(self.next().await?)
    }

    /// Sends a request, and returns the reply, for operations that consist of these two.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request) and [`reply`](Self::reply).
    pub async fn call<T: DeserializeOwned>(mut self, request: &GuestRequest) -> Result<T> {
        self.request(request).await?;
        self.reply().await
    }

    async fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<()> {
        put_frame(&mut self.outgoing, kind, payload).map_err(|error| {
            Error::invalid("request", "(not shown)", format!("{error}; shorten it"))
        })?;
        self.flush_outgoing().await
    }

    fn add_taken(&mut self, bytes: usize) {
        self.taken += bytes;
        let Some(taken) = u32::try_from(self.taken)
            .ok()
            .filter(|_| self.taken >= TAKEN_STEP)
        else {
            return;
        };
        // A payload of four bytes always fits.
        if put_frame(&mut self.outgoing, FrameKind::Taken, &taken.to_be_bytes()).is_ok() {
            self.taken = 0;
        }
    }

    /// Sends what is to be sent. If the future is dropped, the rest is sent next time.
    async fn flush_outgoing(&mut self) -> Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        while !self.outgoing.is_empty() {
            let written = self.stream.write_buf(&mut self.outgoing).await;
            if written.map_err(lost)? == 0 {
                return Err(lost(io::ErrorKind::WriteZero.into()));
            }
        }
        self.stream.flush().await.map_err(lost)
    }
}

impl fmt::Debug for GuestChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestChannel")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

fn into_reply<T: DeserializeOwned>(frame: Option<GuestFrame>) -> Result<T> {
    match frame {
        Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::Message => parse(&frame.payload),
        Some(GuestFrame::Frame(_)) => Err(lost(io::ErrorKind::InvalidData.into())),
        Some(GuestFrame::Refused(refusal)) => Err(Error::Refused(Box::new(refusal))),
        None => Err(lost(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// What the error quotes of the message is escaped.
fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|error| {
        let why = Escaped::new(&error.to_string()).to_string();
        lost(io::Error::new(io::ErrorKind::InvalidData, why))
    })
}

/// Limits and escapes the message, which becomes that of an error.
fn make_safe(mut refusal: Refusal) -> Refusal {
    let message = Escaped::new(&refusal.message).with_max_chars(MAX_MESSAGE);
    refusal.message = message.to_string();
    refusal
}

/// A stream may know the SDK's own error, as that of a server without the guest protocol.
fn lost(error: io::Error) -> Error {
    error.downcast().unwrap_or_else(|error| {
        Error::connection(
            ConnectionStage::Channel,
            "the channel to the sandbox's server has failed",
            Some(error.into()),
        )
    })
}

fn no_answer(timeout: Duration) -> Error {
    Error::connection(
        ConnectionStage::Channel,
        format!("the sandbox's server has not answered within {timeout:?}"),
        None,
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::guest::{PauseState, RefusalCode, SandboxRequest};

    const TIMEOUT: Duration = Duration::from_secs(5);
    const STATE: GuestRequest = GuestRequest::Sandbox(SandboxRequest::State);

    /// Has a server answer a request with these bytes.
    async fn call(answer: &'static [u8]) -> Result<PauseState> {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        let serving = async move {
            let mut request = [0; 24];
            server.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"\0\0\0\x14\0{\"sandbox\":\"state\"}");
            server.write_all(answer).await.unwrap();
        };
        let (called, ()) = tokio::join!(GuestChannel::new(client, TIMEOUT).call(&STATE), serving);
        called
    }

    #[tokio::test]
    async fn a_reply_is_parsed() {
        let state = call(b"\0\0\0\x13\0{\"is_paused\":true}").await.unwrap();
        assert!(state.is_paused);
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_of_its_own() {
        let error = call(b"\0\0\0\x25\x01{\"code\":\"unsupported\",\"message\":\"m\"}").await;
        let error = error.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::Unsupported),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn what_violates_the_protocol_is_a_lost_channel() {
        for answer in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\x03\0{",
            b"\0\0\0\x02\0{",
            b"\0\0\0\x01\x02",
            b"\0\0\0\x01\x09",
            b"\xff\0\0\0",
        ] {
            let error = call(answer).await.unwrap_err();
            assert!(
                matches!(error, Error::Connection(_)),
                "{answer:?}: {error:?}"
            );
        }
    }

    #[tokio::test]
    async fn the_server_is_told_what_was_taken() {
        let (client, mut server) = tokio::io::duplex(4 * WINDOW);
        let mut channel = GuestChannel::new(client, TIMEOUT);
        let mut content = BytesMut::new();
        put_frame(&mut content, FrameKind::Content, &vec![7; TAKEN_STEP]).unwrap();
        server.write_all(&content).await.unwrap();
        let mut left = TAKEN_STEP;
        while left > 0 {
            let Some(GuestFrame::Frame(part)) = channel.next().await.unwrap() else {
                panic!("no content");
            };
            left -= part.payload.len();
        }
        // The next wait sends it, also if it is cut short.
        tokio::time::timeout(Duration::from_millis(10), channel.next())
            .await
            .unwrap_err();
        let mut taken = [0; 9];
        server.read_exact(&mut taken).await.unwrap();
        assert_eq!(&taken, b"\0\0\0\x05\x06\0\x04\0\0");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let (client, _server) = tokio::io::duplex(1 << 16);
        let channel = GuestChannel::new(client, Duration::from_millis(5));
        let error = channel.call::<PauseState>(&STATE).await.unwrap_err();
        assert!(error.to_string().contains("5ms"), "{error}");
    }
}
