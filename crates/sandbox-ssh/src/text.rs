//! Escapes untrusted text from a sandbox for messages.

/// The most characters of a server's message that are repeated.
const MAX_LENGTH: usize = 300;

/// Escapes the control characters of a server's message, and truncates it if it is long.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for character in text.trim().chars().take(MAX_LENGTH) {
        if character.is_control() || is_bidirectional(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if text.trim().chars().nth(MAX_LENGTH).is_some() {
        out.push('…');
    }
    out
}

/// Characters that reorder a line on a terminal.
fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            escape(" a\x1b[31m\nb\u{202e} "),
            "a\\u{1b}[31m\\nb\\u{202e}"
        );
        assert_eq!(escape(&"x".repeat(1000)).chars().count(), MAX_LENGTH + 1);
        assert_eq!(escape("naïve 文件"), "naïve 文件");
    }
}
