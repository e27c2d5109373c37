//! Content of files, as frames.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use sandbox_core::guest::FrameKind;

/// The most bytes of content in one frame.
pub(super) const MAX_CONTENT: usize = 64 << 10;
/// The most frames of a client that are taken at once.
pub(super) const MAX_BATCH: usize = 16;
/// The bytes before the payload of a frame: its length and its kind.
const HEADER: usize = 5;

/// Content that a client has sent.
#[derive(Debug, Default)]
pub(super) struct ContentBatch {
    pub(super) parts: Vec<Bytes>,
    /// No more follows.
    pub(super) is_complete: bool,
}

/// Frames with content that is read into them, without a copy.
#[derive(Debug)]
pub(super) struct ContentFrames {
    encoded: BytesMut,
    content_len: usize,
}

impl ContentFrames {
    /// Creates an empty list with room for this much content.
    pub(super) fn with_capacity(content: usize) -> Self {
        let frames = content.div_ceil(MAX_CONTENT);
        Self {
            encoded: BytesMut::with_capacity(content + frames * HEADER),
            content_len: 0,
        }
    }

    /// The bytes of content.
    pub(super) fn content_len(&self) -> usize {
        self.content_len
    }

    /// The frames as they are sent.
    pub(super) fn into_encoded(self) -> Bytes {
        self.encoded.freeze()
    }

    /// Appends a frame with what `fill` writes to the beginning of a buffer of `most` bytes, and returns how much
    /// that was. If it is nothing, no frame is appended. `most` must not be more than [`MAX_CONTENT`].
    pub(super) fn push_with(
        &mut self,
        most: usize,
        fill: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = self.encoded.len();
        self.encoded.put_bytes(0, HEADER + most);
        let filled = fill(&mut self.encoded[start + HEADER..]);
        let length = *filled.as_ref().unwrap_or(&0);
        let end = if length == 0 { 0 } else { HEADER + length };
        self.encoded.truncate(start + end);
        if let Some((header, _)) = self.encoded[start..].split_first_chunk_mut::<HEADER>() {
            // It fits, because a frame has at most `MAX_CONTENT` bytes of content.
            let counted = u32::try_from(length + 1).unwrap_or(u32::MAX);
            header[..4].copy_from_slice(&counted.to_be_bytes());
            header[4] = FrameKind::Content as u8;
            self.content_len += length;
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use sandbox_core::guest::take_frame;

    use super::*;

    #[test]
    fn frames_have_what_was_filled() {
        let mut frames = ContentFrames::with_capacity(8);
        for content in [&b"ab"[..], b"", b"c"] {
            let filled = frames.push_with(4, |buffer| {
                buffer[..content.len()].copy_from_slice(content);
                Ok(content.len())
            });
            assert_eq!(filled.unwrap(), content.len());
        }
        frames
            .push_with(4, |_| Err(io::ErrorKind::Other.into()))
            .unwrap_err();
        assert_eq!(frames.content_len(), 3);
        let mut encoded = BytesMut::from(frames.into_encoded());
        for expected in ["ab", "c"] {
            let frame = take_frame(&mut encoded).unwrap().unwrap();
            assert_eq!(
                (frame.kind, &frame.payload[..]),
                (FrameKind::Content, expected.as_bytes())
            );
        }
        assert!(encoded.is_empty());
    }
}
