//! Content of files, as frames.

use std::io;

use bytes::Bytes;
use sandbox_core::guest::FrameKind;

/// The most bytes of content in one frame: whole pages, so that a file is read at their boundaries, and few enough that a
/// frame fits into one packet of the SDK's client, which then hands its content out as it has arrived.
pub(super) const MAX_CONTENT: usize = 60 << 10;
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

/// A frame with content that is read into it, without a copy.
#[derive(Debug)]
pub(super) struct ContentFrame {
    encoded: Vec<u8>,
}

impl ContentFrame {
    /// Creates a frame with what `fill` appends to a vector, which has room for `most` bytes or a little more.
    pub(super) fn fill_with(
        most: usize,
        fill: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let mut encoded = Vec::with_capacity(HEADER + most);
        encoded.resize(HEADER, 0);
        fill(&mut encoded)?;
        Ok(Self { encoded })
    }

    /// The bytes of content.
    pub(super) fn content_len(&self) -> usize {
        self.encoded.len() - HEADER
    }

    /// Leaves out what follows the first `length` bytes of content.
    pub(super) fn truncate(&mut self, length: usize) {
        self.encoded.truncate(length.saturating_add(HEADER));
    }

    /// The frame as it is sent.
    pub(super) fn into_encoded(mut self) -> Bytes {
        // It fits, because nothing fills a vector with much more than it has room for.
        let counted = u32::try_from(self.content_len() + 1).unwrap_or(u32::MAX);
        if let Some(header) = self.encoded.first_chunk_mut::<HEADER>() {
            header[..4].copy_from_slice(&counted.to_be_bytes());
            header[4] = FrameKind::Content as u8;
        }
        self.encoded.into()
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use sandbox_core::guest::take_frame;

    use super::*;

    #[test]
    fn a_frame_has_what_was_filled() {
        for (length, expected) in [(9, "abcde"), (3, "abc"), (0, "")] {
            let filled = ContentFrame::fill_with(8, |buffer| {
                buffer.extend_from_slice(b"abcde");
                Ok(())
            });
            let mut frame = filled.unwrap();
            assert_eq!(frame.content_len(), 5);
            frame.truncate(length);
            assert_eq!(frame.content_len(), expected.len());
            let mut encoded = BytesMut::from(frame.into_encoded());
            let decoded = take_frame(&mut encoded).unwrap().unwrap();
            assert_eq!(
                (decoded.kind, &decoded.payload[..]),
                (FrameKind::Content, expected.as_bytes())
            );
            assert!(encoded.is_empty());
        }
        ContentFrame::fill_with(4, |_| Err(io::ErrorKind::Other.into())).unwrap_err();
    }
}
