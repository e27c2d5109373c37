//! Frames of streams: a byte with flags, a length in four bytes, most significant first, and JSON.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::error::{Code, ConnectError};

/// The bytes before the JSON.
const HEAD: usize = 5;
/// The JSON is compressed.
const COMPRESSED: u8 = 0b01;
/// The JSON ends the stream.
pub(super) const END_OF_STREAM: u8 = 0b10;

/// Encodes a message as a frame.
///
/// # Errors
///
/// If the message cannot be JSON, which is a mistake of ours.
pub(crate) fn encode_frame(message: &impl Serialize) -> Result<Bytes, ConnectError> {
    encode_json(0, message)
}

pub(super) fn encode_json(flags: u8, message: &impl Serialize) -> Result<Bytes, ConnectError> {
    let json = serde_json::to_vec(message)
        .map_err(|error| ConnectError::new(Code::Internal, error.to_string()))?;
    let length = u32::try_from(json.len())
        .map_err(|_too_long| ConnectError::new(Code::Internal, "a message is too long"))?;
    let mut frame = BytesMut::with_capacity(HEAD + json.len());
    frame.put_u8(flags);
    frame.put_u32(length);
    frame.put_slice(&json);
    Ok(frame.freeze())
}

/// Encodes a frame whose JSON consists of these parts: text, base64 of `content`, text. So content is copied once.
pub(crate) fn encode_frame_with(before: &str, content: &[u8], after: &str) -> Bytes {
    use base64::Engine as _;
    let encoded = content.len().div_ceil(3) * 4;
    let json = before.len() + encoded + after.len();
    let mut frame = BytesMut::with_capacity(HEAD + json);
    frame.put_u8(0);
    // Content comes in pieces of at most 64 KiB.
    frame.put_u32(u32::try_from(json).unwrap_or(u32::MAX));
    frame.put_slice(before.as_bytes());
    let at = frame.len();
    frame.resize(at + encoded, 0);
    // The space is exactly what the encoding takes.
    let written = base64::engine::general_purpose::STANDARD.encode_slice(content, &mut frame[at..]);
    debug_assert_eq!(written, Ok(encoded));
    frame.put_slice(after.as_bytes());
    frame.freeze()
}

/// Takes messages from what a client sends, in whatever pieces it arrives.
#[derive(Debug)]
pub(crate) struct FrameParser {
    received: BytesMut,
    limit: usize,
}

impl FrameParser {
    /// Accepts messages of at most `limit` bytes of JSON.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            received: BytesMut::new(),
            limit,
        }
    }

    /// Adds what has arrived.
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.received.extend_from_slice(piece);
    }

    /// Removes and returns the JSON of the first message, if all of it has arrived.
    ///
    /// # Errors
    ///
    /// If it is compressed, too long, or not a message.
    pub(crate) fn next_message(&mut self) -> Result<Option<Bytes>, ConnectError> {
        let Some((&[flags, ref length @ ..], _)) = self.received.split_first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if flags & COMPRESSED != 0 {
            let message = "a compressed message arrived; compression was not agreed on";
            return Err(ConnectError::new(Code::Unimplemented, message));
        }
        if flags != 0 {
            let message = format!("a frame has the flags {flags:#04x}; a client must send none");
            return Err(ConnectError::invalid(message));
        }
        if length > self.limit {
            let message = format!(
                "a message of {length} bytes arrived; send at most {} bytes at once",
                self.limit
            );
            return Err(ConnectError::new(Code::ResourceExhausted, message));
        }
        if self.received.len() - HEAD < length {
            return Ok(None);
        }
        self.received.advance(HEAD);
        Ok(Some(self.received.split_to(length).freeze()))
    }

    /// Checks, after the last piece, that no message is incomplete.
    ///
    /// # Errors
    ///
    /// If one is.
    pub(crate) fn check_end(&self) -> Result<(), ConnectError> {
        if self.received.is_empty() {
            return Ok(());
        }
        Err(ConnectError::invalid("the stream ended within a message"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_taken_as_they_arrive() {
        let mut parser = FrameParser::new(64);
        let mut taken = Vec::new();
        for byte in b"\0\0\0\0\x02{}\0\0\0\0\x07{\"a\":1}" {
            parser.push(&[*byte]);
            taken.extend(parser.next_message().unwrap());
        }
        assert_eq!(taken, [&b"{}"[..], b"{\"a\":1}"]);
        parser.check_end().unwrap();
        parser.push(b"\0\0");
        assert_eq!(parser.next_message().unwrap(), None);
        assert!(parser.check_end().is_err());
    }

    #[test]
    fn hostile_frames_are_refused_before_they_are_stored() {
        let cases: [(&[u8], Code); 4] = [
            (b"\x01\0\0\0\x02{}", Code::Unimplemented),
            (b"\x02\0\0\0\x02{}", Code::InvalidArgument),
            (b"\x80\0\0\0\x02{}", Code::InvalidArgument),
            (b"\0\xff\xff\xff\xff", Code::ResourceExhausted),
        ];
        for (bytes, code) in cases {
            let mut parser = FrameParser::new(64);
            parser.push(bytes);
            assert_eq!(parser.next_message().unwrap_err().code, code, "{bytes:?}");
        }
    }

    #[test]
    fn frames_are_encoded_in_one_piece() {
        let message = serde_json::json!({});
        assert_eq!(&encode_frame(&message).unwrap()[..], b"\0\0\0\0\x02{}");
        for content in [&b""[..], b"h", b"hi", b"hi!", b"\xff\0"] {
            let frame = encode_frame_with("{\"stdout\":\"", content, "\"}");
            let mut parser = FrameParser::new(64);
            parser.push(&frame);
            let json = parser.next_message().unwrap().unwrap();
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            let decoded = super::super::json::bytes::decode(value["stdout"].as_str().unwrap());
            assert_eq!(decoded.as_deref(), Some(content));
            parser.check_end().unwrap();
        }
    }
}
