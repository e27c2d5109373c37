//! Escapes JSON for a terminal.

use sandbox::is_misleading;

/// Writes the misleading characters of a JSON text as `\u` escapes. Outside of strings, JSON has
/// none of them but newlines.
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

#[cfg(test)]
mod tests {
    use super::*;

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
