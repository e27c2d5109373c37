//! Escapes untrusted text from a sandbox for messages.

use sandbox_core::Escaped;

/// The most characters of a server's message that are repeated.
const MAX_LENGTH: usize = 300;

/// Escapes a server's message, and truncates it if it is long.
pub(crate) fn escape(text: &str) -> String {
    Escaped::new(text.trim())
        .with_max_chars(MAX_LENGTH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            escape(" a\x1b[31m\nb\u{202e}\u{2028}. "),
            "a\\u{1b}[31m\\nb\\u{202e}\\u{2028}."
        );
        assert_eq!(escape(&"x".repeat(1000)).chars().count(), MAX_LENGTH + 1);
        assert_eq!(escape("naïve 文件"), "naïve 文件");
    }
}
