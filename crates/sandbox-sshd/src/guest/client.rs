//! The client of one operation: its frames, and what may be sent to it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use sandbox_core::guest::{
    Frame, FrameKind, GuestRequest, MalformedFrame, Refusal, RefusalCode, WINDOW, put_frame,
    take_frame,
};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};

use super::content::{ContentBatch, ContentFrame, MAX_BATCH, MAX_CONTENT};
use crate::channel::input::InputReader;
use crate::channel::output::{ChannelClosed, Output};

/// How many bytes of messages are sent at once.
const MESSAGES_AT_ONCE: usize = 64 << 10;
/// How many frames of a client wait to be read.
const MAX_WAITING: usize = 4;

/// Why an operation ends before it is complete.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is not carried out, or not any more.
    Refused(Refusal),
    /// The client has closed the channel.
    Closed,
}

impl From<ChannelClosed> for Stop {
    fn from(ChannelClosed: ChannelClosed) -> Self {
        Self::Closed
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// The client of one operation.
pub(crate) struct Client<'a> {
    sender: ClientSender<'a>,
    frames: mpsc::Receiver<io::Result<Frame>>,
}

/// What sends to the client of one operation.
pub(crate) struct ClientSender<'a> {
    output: &'a Output,
    /// A permit for each byte of content that may be sent.
    window: Arc<Semaphore>,
    /// A part of a frame was sent, or is being sent.
    is_in_frame: AtomicBool,
}

impl<'a> Client<'a> {
    /// Returns the client, and a future that receives its frames while it is polled.
    pub(super) fn new(
        input: InputReader,
        output: &'a Output,
    ) -> (Self, impl Future<Output = Infallible>) {
        let (sender, frames) = mpsc::channel(MAX_WAITING);
        let window = Arc::new(Semaphore::new(WINDOW));
        let receiving = receive(input, sender, Arc::clone(&window));
        let sender = ClientSender {
            output,
            window,
            is_in_frame: AtomicBool::new(false),
        };
        (Self { sender, frames }, receiving)
    }

    /// Waits for the request.
    pub(super) async fn request(&mut self) -> Result<GuestRequest, Stop> {
        let frame = self.next().await?;
        if frame.kind != FrameKind::Message {
            return Err(malformed("the first frame is no request"));
        }
        serde_json::from_slice(&frame.payload).map_err(|error| {
            // A variant of a later version, or something malformed.
            let message = format!("this server does not understand the request: {error}");
            Stop::Refused(Refusal::new(RefusalCode::Unsupported, message))
        })
    }

    /// Waits for content; `None` once it is complete.
    pub(crate) async fn content(&mut self) -> Result<Option<Bytes>, Stop> {
        let frame = self.next().await?;
        match frame.kind {
            FrameKind::Content => Ok(Some(frame.payload)),
            FrameKind::ContentEnd => Ok(None),
            FrameKind::Message
            | FrameKind::Refusal
            | FrameKind::Stderr
            | FrameKind::Terminal
            | FrameKind::Taken => Err(malformed("content was expected")),
        }
    }

    /// Waits for content, and takes more that has arrived.
    pub(super) async fn content_batch(&mut self) -> Result<ContentBatch, Stop> {
        let mut batch = ContentBatch::default();
        let mut next = self.content().await?;
        while let Some(part) = next {
            batch.parts.push(part);
            if self.frames.is_empty() || batch.parts.len() >= MAX_BATCH {
                return Ok(batch);
            }
            next = self.content().await?;
        }
        batch.is_complete = true;
        Ok(batch)
    }

    /// Returns what sends to the client, and a future that ends if the client sends anything itself, which
    /// it may not do any more.
    pub(crate) fn split(&mut self) -> (&ClientSender<'a>, impl Future<Output = Stop>) {
        let Self { sender, frames } = self;
        let violation = async {
            match frames.recv().await {
                Some(frame) => sent_frame(frame)
                    .err()
                    .unwrap_or_else(|| malformed("nothing was expected")),
                // The end of the input ends no operation.
                None => std::future::pending().await,
            }
        };
        (sender, violation)
    }

    /// Sends a message.
    pub(crate) async fn send(&self, message: &impl Serialize) -> Result<(), Stop> {
        self.sender.send(message).await
    }

    /// Sends messages, several at once.
    pub(super) async fn send_all(&self, messages: &[impl Serialize]) -> Result<(), Stop> {
        let mut encoded = BytesMut::new();
        for message in messages {
            put_frame(&mut encoded, FrameKind::Message, &to_json(message)?).map_err(too_long)?;
            if encoded.len() >= MESSAGES_AT_ONCE {
                self.sender.put_encoded(encoded.split().freeze()).await?;
            }
        }
        if !encoded.is_empty() {
            self.sender.put_encoded(encoded.freeze()).await?;
        }
        Ok(())
    }

    /// Sends frames of content, each once the client has room for it.
    pub(super) async fn send_frames(&self, frames: Vec<ContentFrame>) -> Result<(), Stop> {
        for frame in frames {
            self.sender.take_room(frame.content_len()).await?;
            self.sender.put_encoded(frame.into_encoded()).await?;
        }
        Ok(())
    }

    /// Sends content once the client has room for it.
    pub(crate) async fn send_content(&self, kind: FrameKind, content: &[u8]) -> Result<(), Stop> {
        self.sender.send_content(kind, content).await
    }

    /// Says that the content, or a list, is complete.
    pub(crate) async fn end_content(&self) -> Result<(), Stop> {
        self.sender.put(FrameKind::ContentEnd, &[]).await
    }

    /// Sends the refusal, after which nothing follows. If a frame was cut off, the channel is closed instead.
    pub(super) async fn refuse(&self, refusal: &Refusal) -> Result<(), ChannelClosed> {
        if self.sender.is_in_frame.load(Ordering::Relaxed) {
            self.sender.output.close().await?;
            return Err(ChannelClosed);
        }
        let json = serde_json::to_vec(refusal).unwrap_or_default();
        match self.sender.put(FrameKind::Refusal, &json).await {
            Ok(()) => Ok(()),
            Err(_) => Err(ChannelClosed),
        }
    }

    async fn next(&mut self) -> Result<Frame, Stop> {
        match self.frames.recv().await {
            Some(frame) => sent_frame(frame),
            None => Err(Stop::Closed),
        }
    }
}

impl ClientSender<'_> {
    /// Sends a message.
    pub(crate) async fn send(&self, message: &impl Serialize) -> Result<(), Stop> {
        self.put(FrameKind::Message, &to_json(message)?).await
    }

    /// Sends content once the client has room for it.
    pub(crate) async fn send_content(&self, kind: FrameKind, content: &[u8]) -> Result<(), Stop> {
        for part in content.chunks(MAX_CONTENT) {
            self.take_room(part.len()).await?;
            self.put(kind, part).await?;
        }
        Ok(())
    }

    async fn put(&self, kind: FrameKind, payload: &[u8]) -> Result<(), Stop> {
        let mut encoded = BytesMut::new();
        put_frame(&mut encoded, kind, payload).map_err(too_long)?;
        self.put_encoded(encoded.freeze()).await
    }

    /// Sends whole frames, which are split into packets from their beginning.
    async fn put_encoded(&self, encoded: Bytes) -> Result<(), Stop> {
        self.is_in_frame.store(true, Ordering::Relaxed);
        self.output.send_stdout(encoded).await?;
        self.is_in_frame.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the client has room for so much content.
    async fn take_room(&self, content: usize) -> Result<(), Stop> {
        let content = u32::try_from(content).map_err(|_| Stop::Closed)?;
        let room = self.window.acquire_many(content).await;
        room.map_err(|_| Stop::Closed)?.forget();
        Ok(())
    }
}

/// Returns a frame of the client, or why it is none.
fn sent_frame(frame: io::Result<Frame>) -> Result<Frame, Stop> {
    frame.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => malformed(&error.to_string()),
        _ => Stop::Closed,
    })
}

fn to_json(message: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(message).map_err(|error| {
        let message = format!("the reply cannot be encoded: {error}");
        Refusal::new(RefusalCode::Other, message)
    })
}

fn too_long(error: MalformedFrame) -> Refusal {
    Refusal::new(RefusalCode::LimitReached, error.to_string())
}

fn malformed(why: &str) -> Stop {
    Stop::Refused(Refusal::new(
        RefusalCode::Invalid,
        format!("the client violates the protocol: {why}"),
    ))
}

/// Passes on the frames of a client, and widens the window as it takes content.
async fn receive(
    mut input: InputReader,
    frames: mpsc::Sender<io::Result<Frame>>,
    window: Arc<Semaphore>,
) -> Infallible {
    let failure = loop_frames(&mut input, &frames, &window).await;
    // The operation may have ended, and then nobody needs to know.
    if let Err(error) = failure {
        frames.send(Err(error)).await.ok();
    }
    drop(frames);
    // The end of the input ends no operation: the channel does, when it is closed.
    std::future::pending().await
}

async fn loop_frames(
    input: &mut InputReader,
    frames: &mpsc::Sender<io::Result<Frame>>,
    window: &Semaphore,
) -> io::Result<()> {
    let mut received = BytesMut::new();
    loop {
        while let Some(frame) = take_frame(&mut received)? {
            if frame.kind == FrameKind::Taken {
                widen(window, &frame.payload)?;
            } else if frames.send(Ok(frame)).await.is_err() {
                return Ok(());
            }
        }
        match input.next().await? {
            Some(data) => received.extend_from_slice(&data),
            None => return Ok(()),
        }
    }
}

fn widen(window: &Semaphore, payload: &[u8]) -> io::Result<()> {
    let invalid = |why: &'static str| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes: [u8; 4] = payload
        .try_into()
        .map_err(|_| invalid("a number of bytes has four bytes"))?;
    let taken = usize::try_from(u32::from_be_bytes(bytes)).unwrap_or(usize::MAX);
    if taken > WINDOW.saturating_sub(window.available_permits()) {
        return Err(invalid("more was taken than was sent"));
    }
    window.add_permits(taken);
    Ok(())
}
