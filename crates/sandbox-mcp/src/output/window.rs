//! The beginning and the end of an output of any length.

use std::collections::VecDeque;

use super::escape::{complete_len, continuation_len, cost, escape};

/// The most bytes from the beginning of an output.
pub(crate) const HEAD: usize = 8 << 10;
/// The most bytes from the end of an output.
pub(crate) const TAIL: usize = 16 << 10;

/// Collects the beginning and the end of an output in bounded memory.
#[derive(Debug)]
pub(crate) struct Window {
    /// The number of the first byte in the whole output.
    start: u64,
    head: Vec<u8>,
    /// Whether bytes are left out after the head.
    has_gap: bool,
    tail: VecDeque<u8>,
    /// The bytes that the sandbox's log does not have.
    lost: u64,
    /// The number of the next byte.
    next: u64,
}

/// What is shown of an output.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) text: String,
    /// Bytes that are not shown between the beginning and the end.
    pub(crate) omitted: u64,
    /// The number of the first of them.
    pub(crate) omitted_at: Option<u64>,
    /// Those of the omitted bytes that the sandbox does not have any more.
    pub(crate) lost: u64,
    pub(crate) next: u64,
    pub(crate) has_invalid: bool,
}

impl Window {
    /// Begins at this byte of an output.
    pub(crate) fn new(start: u64) -> Self {
        Self {
            start,
            head: Vec::new(),
            has_gap: false,
            tail: VecDeque::new(),
            lost: 0,
            next: start,
        }
    }

    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.next = self.next.saturating_add(bytes.len() as u64);
        let room = if self.has_gap || !self.tail.is_empty() {
            0
        } else {
            HEAD - self.head.len()
        };
        let (to_head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(to_head);
        let rest_kept = &rest[rest.len().saturating_sub(TAIL)..];
        let excess = (self.tail.len() + rest_kept.len()).saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.has_gap |= excess > 0 || rest_kept.len() < rest.len();
        self.tail.extend(rest_kept);
    }

    /// Skips bytes that the sandbox does not have any more. What is shown from the end begins after them.
    pub(crate) fn skip(&mut self, bytes: u64) {
        self.next = self.next.saturating_add(bytes);
        self.lost = self.lost.saturating_add(bytes);
        self.tail.clear();
        self.has_gap = true;
    }

    /// Returns what is shown. A character that is cut at the end is left for later if more may follow.
    pub(crate) fn finish(mut self, may_continue: bool) -> Shown {
        let mut tail = Vec::from(std::mem::take(&mut self.tail));
        if !self.has_gap {
            self.head.append(&mut tail);
        }
        let last = if self.has_gap {
            &mut tail
        } else {
            &mut self.head
        };
        let mut next = self.next;
        if may_continue {
            let complete = complete_len(last);
            next -= (last.len() - complete) as u64;
            last.truncate(complete);
        }
        // What is escaped is longer than its bytes. The size of the answer counts.
        let total = self.head.len() + tail.len();
        let is_long = |bytes: &[u8], limit: usize| text_cost(bytes) > limit;
        let needs_cut = if self.has_gap {
            is_long(&self.head, HEAD) || is_long(&tail, TAIL)
        } else {
            is_long(&self.head, HEAD + TAIL)
        };
        if self.has_gap || needs_cut {
            let (head_source, tail_source) = if self.has_gap {
                (self.head, tail)
            } else {
                let at = prefix_len(&self.head, HEAD);
                let (head, rest) = self.head.split_at(at);
                (head.to_vec(), rest.to_vec())
            };
            let head = &head_source[..prefix_len(&head_source, HEAD)];
            let head = &head[..complete_len(head)];
            let tail = &tail_source[tail_source.len() - suffix_len(&tail_source, TAIL)..];
            let tail = &tail[continuation_len(tail)..];
            let shown = (head.len() + tail.len()) as u64;
            let omitted = (next - self.start) - shown;
            let omitted_at = self.start + head.len() as u64;
            let (head, tail) = (escape(head), escape(tail));
            let remedy = if self.lost == 0 {
                format!("read them from offset {omitted_at}")
            } else {
                format!(
                    "read them from offset {omitted_at}, except {} that are lost",
                    self.lost
                )
            };
            return Shown {
                text: format!(
                    "{}\n[... {omitted} bytes left out; {remedy} ...]\n{}",
                    head.text, tail.text
                ),
                omitted,
                omitted_at: Some(omitted_at),
                lost: self.lost,
                next,
                has_invalid: head.has_invalid || tail.has_invalid,
            };
        }
        debug_assert_eq!(total as u64, next - self.start, "nothing is left out");
        let text = escape(&self.head);
        Shown {
            text: text.text,
            omitted: 0,
            omitted_at: None,
            lost: 0,
            next,
            has_invalid: text.has_invalid,
        }
    }
}

/// The size of the text of these bytes in an answer.
fn text_cost(bytes: &[u8]) -> usize {
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().bytes().map(cost).sum::<usize>() + 5 * chunk.invalid().len())
        .sum()
}

/// Returns how many bytes from the start have a text of at most this size.
fn prefix_len(bytes: &[u8], limit: usize) -> usize {
    let (mut len, mut size) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let costs = chunk.valid().bytes().map(cost);
        for cost in costs.chain(chunk.invalid().iter().map(|_| 5)) {
            size += cost;
            if size > limit {
                return len;
            }
            len += 1;
        }
    }
    len
}

/// Returns how many bytes from the end have a text of at most this size.
fn suffix_len(bytes: &[u8], limit: usize) -> usize {
    let excess = text_cost(bytes).saturating_sub(limit);
    if excess == 0 {
        return bytes.len();
    }
    let (mut skipped, mut size) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        let costs = chunk.valid().bytes().map(cost);
        for cost in costs.chain(chunk.invalid().iter().map(|_| 5)) {
            if size >= excess {
                return bytes.len() - skipped;
            }
            size += cost;
            skipped += 1;
        }
    }
    bytes.len() - skipped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(pieces: &[&[u8]], may_continue: bool) -> Shown {
        let mut window = Window::new(100);
        pieces.iter().for_each(|piece| window.push(piece));
        window.finish(may_continue)
    }

    #[test]
    fn a_short_output_is_whole() {
        let shown = show(&[b"hello ", b"world"], false);
        assert_eq!(shown.text, "hello world");
        assert_eq!(
            (shown.omitted, shown.next, shown.has_invalid),
            (0, 111, false)
        );
        let exact = vec![b'x'; HEAD + TAIL];
        for size in [1, 1000, HEAD, HEAD + 1, exact.len()] {
            let pieces: Vec<&[u8]> = exact.chunks(size).collect();
            let shown = show(&pieces, true);
            assert_eq!(
                (shown.text.len(), shown.omitted),
                (exact.len(), 0),
                "{size}"
            );
        }
    }

    #[test]
    fn of_a_long_output_the_beginning_and_the_end_are_shown() {
        let mut bytes = vec![b'a'; HEAD];
        bytes.extend(vec![b'b'; 1_000_000]);
        bytes.extend(vec![b'c'; TAIL]);
        for size in [1, 999, HEAD, 100_000, bytes.len()] {
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let shown = show(&pieces, false);
            assert!(shown.text.starts_with('a') && shown.text.ends_with('c'));
            assert!(!shown.text.contains("bb"), "{size}");
            assert_eq!(shown.omitted, 1_000_000);
            assert_eq!(shown.omitted_at, Some(100 + HEAD as u64));
            assert_eq!(shown.next, 100 + bytes.len() as u64);
            assert!(
                shown
                    .text
                    .contains("[... 1000000 bytes left out; read them from offset 8292 ...]")
            );
        }
    }

    #[test]
    fn lost_bytes_are_counted() {
        let mut window = Window::new(0);
        window.push(b"begin");
        window.skip(1000);
        window.push(b"end");
        let shown = window.finish(false);
        assert_eq!((shown.omitted, shown.lost, shown.next), (1000, 1000, 1008));
        assert!(shown.text.starts_with("begin\n[") && shown.text.ends_with("]\nend"));
    }

    #[test]
    fn no_character_is_cut() {
        let euros = "€".repeat(20_000);
        let shown = show(&[euros.as_bytes()], false);
        assert!(!shown.has_invalid, "{}", shown.text);
        let shown_euros = shown.text.matches('€').count() as u64;
        assert_eq!(shown_euros * 3 + shown.omitted, euros.len() as u64);
        // More may follow: the half character is for the next answer.
        let shown = show(&[b"ab\xe2\x82"], true);
        assert_eq!((shown.text.as_str(), shown.next), ("ab", 102));
        let shown = show(&[b"ab\xe2\x82"], false);
        assert_eq!((shown.text.as_str(), shown.next), ("ab\\xe2\\x82", 104));
    }

    #[test]
    fn binary_output_does_not_make_the_answer_larger() {
        for byte in [0_u8, 0xff, b'"'] {
            for len in [TAIL, HEAD + TAIL, 1_000_000] {
                let bytes = vec![byte; len];
                let shown = show(&[&bytes], false);
                let json = serde_json::to_string(&shown.text).map_or(0, |json| json.len());
                assert!(json < HEAD + TAIL + 200, "{byte} {len}: {json}");
                let size = if byte == 0xff { 5 } else { cost(byte) };
                assert_eq!(shown.omitted > 0, len * size > HEAD + TAIL, "{byte} {len}");
            }
        }
    }
}
