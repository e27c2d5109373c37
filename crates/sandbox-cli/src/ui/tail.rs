//! The last lines of a stream, in bounded memory.

use std::collections::VecDeque;

/// The most bytes that are kept: as many as a job's log has by default, because lines may be long.
const MAX_BYTES: usize = 64 << 20;

/// Keeps the last lines of a stream, and where bytes of it are left out.
pub(crate) struct Tail {
    lines: usize,
    max_bytes: usize,
    bytes: VecDeque<u8>,
    /// Line feeds in `bytes`.
    line_feeds: usize,
    /// Bytes before `bytes`.
    passed: u64,
    /// Positions in the stream where bytes are left out, and how many.
    gaps: VecDeque<(u64, u64)>,
    /// The first of the lines are not kept, or not completely.
    is_cut: bool,
}

/// A piece of the last lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TailPiece {
    Bytes(Vec<u8>),
    /// This many bytes are left out here.
    Omitted(u64),
    /// The lines are too long: their beginning is not kept.
    Cut,
}

impl Tail {
    pub(crate) fn new(lines: usize) -> Self {
        Self::with_max_bytes(lines, MAX_BYTES)
    }

    fn with_max_bytes(lines: usize, max_bytes: usize) -> Self {
        Self {
            lines,
            max_bytes,
            bytes: VecDeque::new(),
            line_feeds: 0,
            passed: 0,
            gaps: VecDeque::new(),
            is_cut: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.line_feeds += count_line_feeds(bytes);
        self.drop_lines();
        let excess = self.bytes.len().saturating_sub(self.max_bytes);
        if excess > 0 {
            self.drop_front(excess);
            self.is_cut = true;
        }
    }

    /// Records that bytes are left out here.
    pub(crate) fn skip(&mut self, omitted: u64) {
        let at = self.passed + self.bytes.len() as u64;
        match self.gaps.back_mut() {
            Some((last, total)) if *last == at => *total = total.saturating_add(omitted),
            _ => self.gaps.push_back((at, omitted)),
        }
        // Between gaps there is at least one byte, except from a hostile server.
        self.gaps.truncate(self.max_bytes.min(1024));
    }

    /// Returns the last lines.
    pub(crate) fn into_pieces(mut self) -> Vec<TailPiece> {
        let mut pieces = Vec::new();
        if self.lines == 0 {
            return pieces;
        }
        if self.is_cut {
            pieces.push(TailPiece::Cut);
        }
        for (at, omitted) in std::mem::take(&mut self.gaps) {
            let before = usize::try_from(at - self.passed).unwrap_or(usize::MAX);
            let bytes: Vec<u8> = self.bytes.drain(..before.min(self.bytes.len())).collect();
            self.passed = at;
            if !bytes.is_empty() {
                pieces.push(TailPiece::Bytes(bytes));
            }
            pieces.push(TailPiece::Omitted(omitted));
        }
        if !self.bytes.is_empty() {
            pieces.push(TailPiece::Bytes(self.bytes.into()));
        }
        pieces
    }

    /// Drops the lines before the last ones.
    fn drop_lines(&mut self) {
        if self.lines == 0 {
            return self.drop_front(self.bytes.len());
        }
        // The line feed at the end of the last line begins no further line.
        let ends_line = self.bytes.back() == Some(&b'\n');
        let lines = self.line_feeds + usize::from(!ends_line);
        let mut excess = lines.saturating_sub(self.lines);
        if excess == 0 {
            return;
        }
        let end = self.bytes.iter().position(|byte| {
            excess -= usize::from(*byte == b'\n');
            excess == 0
        });
        self.drop_front(end.map_or(0, |at| at + 1));
        self.is_cut = false;
    }

    fn drop_front(&mut self, length: usize) {
        let dropped: usize = self
            .bytes
            .drain(..length)
            .filter(|byte| *byte == b'\n')
            .count();
        self.line_feeds -= dropped;
        self.passed += length as u64;
        // A gap before the lines does not matter.
        while self.gaps.front().is_some_and(|(at, _)| *at < self.passed) {
            self.gaps.pop_front();
        }
    }
}

fn count_line_feeds(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(tail: Tail) -> Vec<String> {
        tail.into_pieces()
            .into_iter()
            .map(|piece| match piece {
                TailPiece::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                TailPiece::Omitted(bytes) => format!("<{bytes}>"),
                TailPiece::Cut => "<cut>".to_owned(),
            })
            .collect()
    }

    #[test]
    fn the_tail_has_complete_lines() {
        for (text, lines, tail) in [
            ("a\nbb\nccc", 0, vec![]),
            ("a\nbb\nccc", 1, vec!["ccc"]),
            ("a\nbb\nccc", 2, vec!["bb\nccc"]),
            ("a\nbb\nccc", 9, vec!["a\nbb\nccc"]),
            ("a\nb\n", 1, vec!["b\n"]),
            ("a\n\n", 1, vec!["\n"]),
            ("", 1, vec![]),
        ] {
            let mut whole = Tail::new(lines);
            whole.push(text.as_bytes());
            assert_eq!(pieces(whole), tail, "{text:?} {lines}");
            let mut parts = Tail::new(lines);
            text.bytes().for_each(|byte| parts.push(&[byte]));
            assert_eq!(pieces(parts), tail, "{text:?} {lines} in parts");
        }
    }

    #[test]
    fn a_gap_is_told_only_if_it_is_in_the_lines() {
        let tail = |lines| {
            let mut tail = Tail::new(lines);
            tail.push(b"1\n2\nbeg");
            tail.skip(100);
            tail.push(b"end\n8\n9\n");
            pieces(tail)
        };
        assert_eq!(tail(2), ["8\n9\n"]);
        assert_eq!(tail(3), ["beg", "<100>", "end\n8\n9\n"]);
        assert_eq!(tail(4), ["2\nbeg", "<100>", "end\n8\n9\n"]);
    }

    #[test]
    fn long_lines_are_cut_in_front() {
        let mut tail = Tail::with_max_bytes(2, 5);
        for part in [&b"first\n0123"[..], b"456", b"789\nx"] {
            tail.push(part);
        }
        assert_eq!(pieces(tail), ["<cut>", "789\nx"]);
        let mut tail = Tail::with_max_bytes(1, 5);
        tail.push(b"0123456789\nx");
        assert_eq!(pieces(tail), ["x"], "what is not asked for may be cut");
    }

    #[test]
    fn memory_is_bounded() {
        let mut tail = Tail::with_max_bytes(usize::MAX, 1000);
        for _ in 0..1000 {
            tail.push(&[b'A'; 333]);
            tail.skip(1);
        }
        assert!(tail.bytes.len() <= 1000 && tail.gaps.len() <= 1024);
    }
}
