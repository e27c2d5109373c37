//! Text from a sandbox, made fit for a message.

/// The most of a server's message that is repeated, in characters.
const LONGEST: usize = 300;

/// A server's message with its control characters escaped, cut when it is long.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.trim().chars().take(LONGEST) {
        if character.is_control() || is_bidirectional(character) {
            out.extend(character.escape_default());
        } else {
            out.push(character);
        }
    }
    if text.trim().chars().nth(LONGEST).is_some() {
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
    fn nothing_reaches_the_terminal_as_control() {
        assert_eq!(
            escaped(" a\x1b[31m\nb\u{202e} "),
            "a\\u{1b}[31m\\nb\\u{202e}"
        );
        assert_eq!(escaped(&"x".repeat(1000)).chars().count(), LONGEST + 1);
        assert_eq!(escaped("naïve 文件"), "naïve 文件");
    }
}
