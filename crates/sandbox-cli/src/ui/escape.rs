//! Escapes text from a sandbox for a terminal.

use std::fmt;

/// Displays text with the characters escaped that could move the cursor, change colours, send input
/// in the user's name, or reorder the text.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            if is_misleading(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                fmt::Write::write_char(f, character)?;
            }
        }
        Ok(())
    }
}

/// Writes the same characters of a JSON text as `\u` escapes. Outside of strings, JSON has none of
/// them but newlines.
pub(crate) fn escape_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if is_misleading(character) && character != '\n' {
            let mut units = [0; 2];
            character
                .encode_utf16(&mut units)
                .iter()
                .for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
        } else {
            text.push(character);
        }
    }
    text
}

fn is_misleading(character: char) -> bool {
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
    fn control_characters_are_escaped() {
        let hostile = "\u{1b}[2J\u{9b}31m\rok\u{202e}txt.exe\u{7}\u{0}\u{e0041}";
        let shown = Escaped(hostile).to_string();
        assert_eq!(
            shown,
            "\\u{1b}[2J\\u{9b}31m\\rok\\u{202e}txt.exe\\u{7}\\u{0}\\u{e0041}"
        );
        assert_eq!(Escaped("Grüße, 東京 👩‍🚀").to_string(), "Grüße, 東京 👩‍🚀");
    }

    #[test]
    fn escaped_json_has_the_same_values() {
        let value = serde_json::json!({"name": "a\u{202e}b\u{9b}c\u{e0041}\n"});
        let shown = escape_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(
            shown.contains("\\u202e") && shown.contains("\\u009b") && !shown.contains('\u{e0041}')
        );
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}
