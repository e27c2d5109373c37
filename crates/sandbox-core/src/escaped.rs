//! Escapes what comes from a sandbox for a terminal or a log.

use std::fmt::{self, Write};

/// Displays untrusted text with everything escaped that could move the cursor, change colours, send
/// input in the user's name, reorder the text ([UAX #9]) or stay invisible: a control character as
/// `\n` or `\u{1b}`, a byte that is not UTF-8 as `\xe9`. Everything else is unchanged, so that
/// escaping twice changes no more than escaping once.
///
/// ```
/// use sandbox_core::Escaped;
///
/// assert_eq!(Escaped::new("a\x1b[2J\u{202e}b").to_string(), r"a\u{1b}[2J\u{202e}b");
/// assert_eq!(Escaped::new(b"caf\xe9").to_string(), r"caf\xe9");
/// assert_eq!(Escaped::new("long").with_max_chars(2).to_string(), "lo…");
/// ```
///
/// [UAX #9]: https://www.unicode.org/reports/tr9/
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a [u8],
    max_chars: usize,
}

impl<'a> Escaped<'a> {
    /// Escapes a text, or bytes that may be one.
    pub fn new(text: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self {
            text: text.as_ref(),
            max_chars: usize::MAX,
        }
    }

    /// Displays at most this many characters of the text, and `…` in place of the rest.
    #[must_use]
    pub fn with_max_chars(self, max_chars: usize) -> Self {
        Self { max_chars, ..self }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.max_chars;
        for symbol in symbols(self.text) {
            if left == 0 {
                return f.write_char('…');
            }
            left -= 1;
            write_symbol(f, symbol)?;
        }
        Ok(())
    }
}

/// A part of a text in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Symbol {
    Char(char),
    /// A byte that is not part of a UTF-8 character.
    Byte(u8),
}

/// Splits bytes into characters, and the bytes that are none.
pub(crate) fn symbols(text: &[u8]) -> impl Iterator<Item = Symbol> {
    text.utf8_chunks().flat_map(|chunk| {
        let chars = chunk.valid().chars().map(Symbol::Char);
        chars.chain(chunk.invalid().iter().copied().map(Symbol::Byte))
    })
}

/// Writes a symbol, escaped if it is misleading.
pub(crate) fn write_symbol(to: &mut impl Write, symbol: Symbol) -> fmt::Result {
    match symbol {
        Symbol::Char(character) if is_misleading(character) => {
            write!(to, "{}", character.escape_default())
        }
        Symbol::Char(character) => to.write_char(character),
        Symbol::Byte(byte) => write!(to, "\\x{byte:02x}"),
    }
}

/// Returns whether a character can change how a terminal shows others, or is itself not shown.
///
/// ```
/// assert!(sandbox_core::is_misleading('\u{202e}') && !sandbox_core::is_misleading('ä'));
/// ```
pub fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks and overrides of the writing direction (UAX #9).
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Line and paragraph separators, byte order mark, annotations, tags.
            | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misleading_characters_and_other_bytes_are_escaped() {
        let hostile = "\u{1b}[2J\u{9b}31m\rok\u{202e}txt.exe\u{7}\u{0}\u{e0041}\u{61c}\u{2028}";
        let shown = Escaped::new(hostile).to_string();
        assert_eq!(
            shown,
            r"\u{1b}[2J\u{9b}31m\rok\u{202e}txt.exe\u{7}\u{0}\u{e0041}\u{61c}\u{2028}"
        );
        assert_eq!(Escaped::new(&shown).to_string(), shown);
        for unchanged in ["Grüße, 東京 👩‍🚀", r"C:\x", ""] {
            assert_eq!(Escaped::new(unchanged).to_string(), unchanged);
        }
        assert_eq!(
            Escaped::new(b"\xe2\x82caf\xe9\xff").to_string(),
            r"\xe2\x82caf\xe9\xff"
        );
    }

    #[test]
    fn a_long_text_is_truncated() {
        let long = Escaped::new("ääää");
        assert_eq!(long.with_max_chars(4).to_string(), "ääää");
        assert_eq!(long.with_max_chars(3).to_string(), "äää…");
        assert_eq!(long.with_max_chars(0).to_string(), "…");
    }
}
