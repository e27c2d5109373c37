//! The beginning and the end of a stream, in bounded memory.

use bytes::Bytes;

/// The first and the last bytes of a stream, and a count of those between them.
#[derive(Debug)]
pub(super) struct CappedBytes {
    head: Vec<u8>,
    /// A ring: once it is full, `oldest` is the index of its first byte.
    tail: Vec<u8>,
    oldest: usize,
    dropped: u64,
    cap: usize,
}

/// The part of `cap` bytes that is kept of the beginning.
pub(super) fn head_length(cap: usize) -> usize {
    cap.div_ceil(2)
}

impl CappedBytes {
    pub(super) fn new(cap: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: Vec::new(),
            oldest: 0,
            dropped: 0,
            cap,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = head_length(self.cap) - self.head.len();
        let (head, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(head);
        self.push_tail(rest);
    }

    /// Counts bytes that someone else has left out.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.dropped = self.dropped.saturating_add(bytes);
    }

    /// Returns the kept bytes, and the number of the others.
    pub(super) fn into_parts(mut self) -> (Bytes, u64) {
        self.tail.rotate_left(self.oldest);
        self.head.append(&mut self.tail);
        (self.head.into(), self.dropped)
    }

    fn push_tail(&mut self, bytes: &[u8]) {
        let cap = self.cap - head_length(self.cap);
        // Of a part that is longer than the ring, only the end remains.
        let (passed, mut rest) = bytes.split_at(bytes.len().saturating_sub(cap));
        self.skip(passed.len() as u64);
        let growing = rest.len().min(cap - self.tail.len());
        self.tail.extend_from_slice(&rest[..growing]);
        rest = &rest[growing..];
        self.skip(rest.len() as u64);
        while !rest.is_empty() {
            let length = rest.len().min(cap - self.oldest);
            self.tail[self.oldest..self.oldest + length].copy_from_slice(&rest[..length]);
            self.oldest = (self.oldest + length) % cap;
            rest = &rest[length..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn collect(cap: usize, parts: &[Vec<u8>]) -> (Bytes, u64) {
        let mut capped = CappedBytes::new(cap);
        parts.iter().for_each(|part| capped.push(part));
        capped.into_parts()
    }

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        for (cap, text, kept) in [
            (0, "abc", ""),
            (1, "abc", "a"),
            (2, "abc", "ac"),
            (3, "abc", "abc"),
            (5, "abcdefg", "abcfg"),
            (100, "abc", "abc"),
        ] {
            let (bytes, dropped) = collect(cap, &[text.into()]);
            assert_eq!(bytes, kept, "{cap}");
            assert_eq!(dropped, (text.len() - kept.len()) as u64, "{cap}");
        }
    }

    proptest! {
        #[test]
        fn the_parts_of_a_stream_do_not_matter(
            cap in 0..40_usize,
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..12),
        ) {
            let whole = parts.concat();
            let (bytes, dropped) = collect(cap, &parts);
            if whole.len() <= cap {
                prop_assert_eq!((&bytes[..], dropped), (&whole[..], 0));
            } else {
                let head = head_length(cap);
                let expected = [&whole[..head], &whole[whole.len() - (cap - head)..]].concat();
                prop_assert_eq!(&bytes[..], &expected[..]);
                prop_assert_eq!(dropped, (whole.len() - cap) as u64);
            }
        }
    }
}
