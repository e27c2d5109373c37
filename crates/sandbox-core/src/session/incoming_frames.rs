//! The frames of a guest channel, taken out of what arrives.

use bytes::{Buf, Bytes, BytesMut};

use crate::guest::{Frame, FrameHead, FrameKind, MalformedFrame};

/// Takes frames out of what arrives. Content is handed out in the parts in which it arrives, without a copy; other frames
/// once they are complete.
#[derive(Debug, Default)]
pub(super) struct IncomingFrames {
    /// What has arrived and was not looked at.
    arrived: Bytes,
    /// A head, or a frame without content, of which more has to arrive.
    begun: BytesMut,
    /// The kind of the content that is handed out, and how much more belongs to its frame.
    content: Option<(FrameKind, usize)>,
}

impl IncomingFrames {
    /// Adds what has arrived. What was added before must have been used up: [`take`](Self::take) has returned `None`.
    pub(super) fn push(&mut self, arrived: Bytes) {
        debug_assert!(self.arrived.is_empty());
        self.arrived = arrived;
    }

    /// Whether the end of what has arrived is inside a frame.
    pub(super) fn is_in_frame(&self) -> bool {
        self.content.is_some() || !self.begun.is_empty()
    }

    /// Takes the next frame, or the next part of one with content; `None` if more has to arrive.
    ///
    /// # Errors
    ///
    /// If a frame is empty or too long, or of an unknown kind.
    pub(super) fn take(&mut self) -> Result<Option<Frame>, MalformedFrame> {
        if self.content.is_none() {
            let Some(head) = self.take_head()? else {
                return Ok(None);
            };
            if !head.kind.is_content() {
                if !self.fill(FrameHead::LEN + head.payload) {
                    return Ok(None);
                }
                let mut frame = self.begun.split();
                frame.advance(FrameHead::LEN);
                let payload = frame.freeze();
                return Ok(Some(Frame {
                    kind: head.kind,
                    payload,
                }));
            }
            self.begun.clear();
            self.content = Some((head.kind, head.payload));
        }
        let Some((kind, left)) = self.content else {
            return Ok(None);
        };
        if left > 0 && self.arrived.is_empty() {
            return Ok(None);
        }
        let payload = self.arrived.split_to(left.min(self.arrived.len()));
        let left = left - payload.len();
        self.content = (left > 0).then_some((kind, left));
        Ok(Some(Frame { kind, payload }))
    }

    /// The head of the frame that has begun, once it has arrived.
    fn take_head(&mut self) -> Result<Option<FrameHead>, MalformedFrame> {
        self.fill(FrameHead::LEN);
        FrameHead::parse(&self.begun)
    }

    /// Moves what has arrived to what has begun, until that has this length; `false` if more has to arrive.
    fn fill(&mut self, length: usize) -> bool {
        let missing = length.saturating_sub(self.begun.len());
        let more = self.arrived.split_to(missing.min(self.arrived.len()));
        self.begun.extend_from_slice(&more);
        self.begun.len() >= length
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::put_frame;

    fn encode(frames: &[(FrameKind, &[u8])]) -> Bytes {
        let mut encoded = BytesMut::new();
        for (kind, payload) in frames {
            put_frame(&mut encoded, *kind, payload).unwrap();
        }
        encoded.freeze()
    }

    /// The frames of what arrives in pieces of this size, with adjacent content joined.
    fn take_all(encoded: &Bytes, size: usize) -> (Vec<(FrameKind, Vec<u8>)>, bool) {
        let mut incoming = IncomingFrames::default();
        let mut frames: Vec<(FrameKind, Vec<u8>)> = Vec::new();
        for piece in encoded.chunks(size) {
            incoming.push(encoded.slice_ref(piece));
            while let Some(Frame { kind, payload }) = incoming.take().unwrap() {
                match frames.last_mut() {
                    Some((last, content)) if *last == kind && kind.is_content() => {
                        content.extend_from_slice(&payload);
                    }
                    _ => frames.push((kind, payload.to_vec())),
                }
            }
        }
        (frames, incoming.is_in_frame())
    }

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_arrive() {
        use FrameKind::{Content, ContentEnd, Message, Stderr};
        let frames: [(FrameKind, &[u8]); 6] = [
            (Message, b"{}"),
            (Content, b"some content"),
            (Stderr, b"x"),
            (Content, b""),
            (Message, b"[1, 2]"),
            (ContentEnd, b""),
        ];
        let encoded = encode(&frames);
        let expected: Vec<_> = frames
            .map(|(kind, payload)| (kind, payload.to_vec()))
            .into();
        for size in 1..=encoded.len() {
            assert_eq!(
                take_all(&encoded, size),
                (expected.clone(), false),
                "{size}"
            );
        }
    }

    #[test]
    fn content_is_not_copied_and_its_end_is_known() {
        let encoded = encode(&[(FrameKind::Content, &[7; 100])]);
        let mut incoming = IncomingFrames::default();
        incoming.push(encoded.slice(..50));
        let part = incoming.take().unwrap().unwrap().payload;
        assert_eq!((part.len(), part.as_ptr()), (45, encoded[5..].as_ptr()));
        assert_eq!(incoming.take().unwrap(), None);
        assert!(incoming.is_in_frame());
        incoming.push(encoded.slice(50..));
        assert_eq!(incoming.take().unwrap().unwrap().payload.len(), 55);
        assert!(!incoming.is_in_frame());
    }

    #[test]
    fn what_is_no_frame_is_an_error_as_soon_as_that_is_known() {
        for wrong in [&b"\0\0\0\0"[..], b"\0\x10\0\x02", b"\0\0\0\x01\x09"] {
            let mut incoming = IncomingFrames::default();
            incoming.push(Bytes::copy_from_slice(wrong));
            assert!(incoming.take().is_err(), "{wrong:?}");
        }
    }
}
