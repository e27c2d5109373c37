//! The frames of a channel, and their encoding.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most bytes of a payload. Content is sent in pieces of at most 64 KiB, so that nothing waits long
/// behind one.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The most bytes of content that the server sends before the client has [taken](FrameKind::Taken) any.
pub const WINDOW: usize = 1 << 20;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "a frame has a kind and a payload"
)]
pub struct Frame {
    /// What the payload is.
    pub kind: FrameKind,
    /// JSON or content.
    pub payload: Bytes,
}

/// What the payload of a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(
    clippy::exhaustive_enums,
    reason = "an unknown kind is a violation of the protocol"
)]
#[repr(u8)]
pub enum FrameKind {
    /// JSON: a request, a reply or an event.
    Message = 0,
    /// A [`Refusal`](super::Refusal) as JSON. Nothing follows it.
    Refusal = 1,
    /// Content of a file, standard output, or input for a process.
    Content = 2,
    /// Standard error.
    Stderr = 3,
    /// Output of a terminal.
    Terminal = 4,
    /// The content is complete. Without this frame it was cut off.
    ContentEnd = 5,
    /// Of a client: it has taken so much more content. The payload is a number of bytes in four bytes, most
    /// significant first.
    Taken = 6,
}

/// What violates the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid frame: {0}")]
pub struct MalformedFrame(&'static str);

impl From<MalformedFrame> for std::io::Error {
    fn from(error: MalformedFrame) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

impl FrameKind {
    /// Returns whether the payload counts against the [`WINDOW`].
    pub fn is_content(self) -> bool {
        match self {
            Self::Content | Self::Stderr | Self::Terminal => true,
            Self::Message | Self::Refusal | Self::ContentEnd | Self::Taken => false,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Message,
            Self::Refusal,
            Self::Content,
            Self::Stderr,
            Self::Terminal,
            Self::ContentEnd,
            Self::Taken,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

/// Appends a frame.
///
/// # Errors
///
/// If the payload has more than [`MAX_PAYLOAD`] bytes.
pub fn put_frame(to: &mut BytesMut, kind: FrameKind, payload: &[u8]) -> Result<(), MalformedFrame> {
    let length = u32::try_from(payload.len() + 1)
        .ok()
        .filter(|_| payload.len() <= MAX_PAYLOAD)
        .ok_or(MalformedFrame("its payload is too long"))?;
    to.reserve(payload.len() + 5);
    to.put_u32(length);
    to.put_u8(kind as u8);
    to.put_slice(payload);
    Ok(())
}

/// What precedes the payload of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) kind: FrameKind,
    /// The length of the payload.
    pub(crate) payload: usize,
}

impl FrameHead {
    /// The length of a head.
    pub(crate) const LEN: usize = 5;

    /// Parses the head at the beginning; `None` if it has not arrived.
    ///
    /// # Errors
    ///
    /// If the frame is empty or too long, as soon as its length has arrived, or of an unknown kind.
    pub(crate) fn parse(received: &[u8]) -> Result<Option<Self>, MalformedFrame> {
        let Some((length, rest)) = received.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Err(MalformedFrame("it has no kind"));
        }
        if length > MAX_PAYLOAD + 1 {
            return Err(MalformedFrame("it is too long"));
        }
        let Some(kind) = rest.first() else {
            return Ok(None);
        };
        let kind = FrameKind::from_byte(*kind).ok_or(MalformedFrame("it is of an unknown kind"))?;
        Ok(Some(Self {
            kind,
            payload: length - 1,
        }))
    }
}

/// Removes and returns the first frame, if all of it has arrived.
///
/// # Errors
///
/// If it is empty or too long, or of an unknown kind.
pub fn take_frame(received: &mut BytesMut) -> Result<Option<Frame>, MalformedFrame> {
    let Some(head) = FrameHead::parse(received)? else {
        return Ok(None);
    };
    if received.len() < FrameHead::LEN + head.payload {
        return Ok(None);
    }
    received.advance(FrameHead::LEN);
    let payload = received.split_to(head.payload).freeze();
    Ok(Some(Frame {
        kind: head.kind,
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_as_they_arrive() {
        let mut encoded = BytesMut::new();
        put_frame(&mut encoded, FrameKind::Message, b"{}").unwrap();
        put_frame(&mut encoded, FrameKind::ContentEnd, b"").unwrap();
        assert_eq!(&encoded[..], b"\0\0\0\x03\0{}\0\0\0\x01\x05");
        let mut received = BytesMut::new();
        let mut frames = Vec::new();
        for byte in encoded {
            received.put_u8(byte);
            frames.extend(take_frame(&mut received).unwrap());
        }
        let taken: Vec<_> = frames
            .iter()
            .map(|frame| (frame.kind, &frame.payload[..]))
            .collect();
        assert_eq!(
            taken,
            [
                (FrameKind::Message, &b"{}"[..]),
                (FrameKind::ContentEnd, b"")
            ]
        );
    }

    #[test]
    fn lengths_and_kinds_are_checked() {
        for bytes in [&b"\0\0\0\0"[..], b"\xff\xff\xff\xff", b"\0\0\0\x01\x07"] {
            assert!(take_frame(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
        let mut encoded = BytesMut::new();
        let longest = vec![0; MAX_PAYLOAD];
        put_frame(&mut encoded, FrameKind::Content, &longest).unwrap();
        let frame = take_frame(&mut encoded).unwrap().unwrap();
        assert_eq!(frame.payload.len(), MAX_PAYLOAD);
        let too_long = vec![0; MAX_PAYLOAD + 1];
        assert!(put_frame(&mut encoded, FrameKind::Content, &too_long).is_err());
        assert!(encoded.is_empty());
    }
}
