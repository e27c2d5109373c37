//! Bytes as text, without loss: what is not UTF-8 is escaped, and flagged.

use std::fmt::Write;

/// Bytes as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct EscapedText {
    pub(crate) text: String,
    /// Whether a byte was not UTF-8. It is `\xNN` in the text.
    pub(crate) has_invalid: bool,
}

/// Converts bytes to text. Each byte that is not UTF-8 becomes `\xNN`.
pub(crate) fn escape(bytes: &[u8]) -> EscapedText {
    let mut escaped = EscapedText::default();
    for chunk in bytes.utf8_chunks() {
        escaped.text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            escaped.has_invalid = true;
            // Writing to a string does not fail.
            let _written = write!(escaped.text, "\\x{byte:02x}");
        }
    }
    escaped
}

/// Returns how many bytes there are without a character at the end whose last bytes are missing.
pub(crate) fn complete_len(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    for at in (start..bytes.len()).rev() {
        let wanted = match bytes[at] {
            0b1100_0000..=0b1101_1111 => 2,
            0b1110_0000..=0b1110_1111 => 3,
            0b1111_0000..=0b1111_0111 => 4,
            0b1000_0000..=0b1011_1111 => continue,
            _ => return bytes.len(),
        };
        return if bytes.len() - at < wanted {
            at
        } else {
            bytes.len()
        };
    }
    bytes.len()
}

/// Returns how many bytes at the start continue a character whose first bytes are missing.
pub(super) fn continuation_len(bytes: &[u8]) -> usize {
    let is_continuation = |byte: &&u8| **byte & 0b1100_0000 == 0b1000_0000;
    bytes.iter().take(3).take_while(is_continuation).count()
}

/// Returns how long the text of a byte is at most in JSON, and so in an answer: an escape counts as it is written.
pub(super) fn cost(byte: u8) -> usize {
    match byte {
        b'\n' | b'\r' | b'\t' | b'"' | b'\\' => 2,
        0..=0x1f | 0x7f => 6,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_lost() {
        for (bytes, text, has_invalid) in [
            (&b"plain\n"[..], "plain\n", false),
            ("é€😀\0".as_bytes(), "é€😀\0", false),
            (b"caf\xe9!", "caf\\xe9!", true),
            (b"\xff\xfe", "\\xff\\xfe", true),
            (b"\xe2\x82", "\\xe2\\x82", true),
            (b"", "", false),
        ] {
            let escaped = escape(bytes);
            assert_eq!(
                (escaped.text.as_str(), escaped.has_invalid),
                (text, has_invalid)
            );
        }
    }

    #[test]
    fn only_a_character_that_may_be_completed_is_held_back() {
        for (bytes, complete) in [
            (&b"ab"[..], 2),
            ("é".as_bytes(), 2),
            (&"é".as_bytes()[..1], 0),
            (&"a€".as_bytes()[..3], 1),
            (&"a😀".as_bytes()[..4], 1),
            (b"a\x80\x80\x80", 4),
            (b"\xff", 1),
            (b"", 0),
        ] {
            assert_eq!(complete_len(bytes), complete, "{bytes:?}");
        }
    }
}
