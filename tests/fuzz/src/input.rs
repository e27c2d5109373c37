//! The bytes of a case, which are consumed from the front. After the last one every choice is the
//! first, so that every case ends.

/// The remaining bytes of a case.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: Vec<u8>,
    at: usize,
}

/// Dangerous and harmless names.
const NAMES: [&str; 24] = [
    "a",
    "b",
    "c",
    "d",
    "..",
    ".",
    "/",
    "../x",
    "a/b",
    "/etc/passwd",
    "",
    "a\0b",
    "-rf",
    "a\nb",
    "\u{1b}[31m",
    "\u{202e}x",
    "con",
    "é",
    "\u{fffd}",
    "link",
    "../outside",
    "..a",
    "a\\b",
    "*",
];

impl Input {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }

    /// A number below `count`.
    pub(crate) fn choice(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(crate) fn number(&mut self) -> u64 {
        match self.choice(8) {
            0 => u64::from(self.byte()),
            1 => u64::from(u32::MAX),
            2 => u64::MAX,
            3 => u64::MAX / 2,
            4 => u64::from(self.byte()) << 24,
            _ => u64::from(self.byte() % 64),
        }
    }

    pub(crate) fn number32(&mut self) -> u32 {
        u32::try_from(self.number() & u64::from(u32::MAX)).unwrap()
    }

    /// At most `count` bytes; fewer at the end.
    pub(crate) fn take(&mut self, count: usize) -> Vec<u8> {
        let end = (self.at + count).min(self.bytes.len());
        let taken = self.bytes.get(self.at..end).unwrap_or_default().to_vec();
        self.at = end.max(self.at);
        taken
    }

    /// A few bytes, or unusually many.
    pub(crate) fn text(&mut self) -> Vec<u8> {
        match self.choice(16) {
            15 => vec![self.byte(); 5000],
            length => self.take(usize::from(length)),
        }
    }

    /// The name of a file, harmless or dangerous.
    pub(crate) fn name(&mut self) -> Vec<u8> {
        match self.byte() {
            0..=127 => NAMES[usize::from(self.choice(4))].as_bytes().to_vec(),
            128..=223 => NAMES[usize::from(self.byte()) % NAMES.len()]
                .as_bytes()
                .to_vec(),
            _ => self.text(),
        }
    }
}
