//! What the command shows of a sandbox on a terminal: names, labels, states, errors, logs.

#[path = "../../../crates/sandbox-cli/src/ui/escape.rs"]
mod of_the_command;

use of_the_command::{Escaped, escaped_json};

/// Nothing steers the terminal, nothing else is changed, and JSON stays the same JSON.
pub(crate) fn target(bytes: &[u8]) {
    let text = text(bytes);
    let shown = Escaped(&text).to_string();
    assert!(!shown.contains(steers), "{shown:?}");
    assert_eq!(Escaped(&shown).to_string(), shown, "it is escaped once");
    // What is shown is what was there, each character in its place.
    let mut rest = shown.as_str();
    for character in text.chars() {
        let escape = character.escape_default().to_string();
        let itself = rest.strip_prefix(character).filter(|_| !steers(character));
        rest = itself
            .or_else(|| rest.strip_prefix(&escape))
            .expect("each character is shown");
        assert!(
            itself.is_some() || !character.is_alphanumeric(),
            "{character:?} is harmless"
        );
    }
    assert!(rest.is_empty(), "{rest:?} is made up");

    let value = serde_json::json!({ text.clone(): [text, "x"] });
    for json in [
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
    ] {
        let shown = escaped_json(&json);
        assert!(!shown.replace('\n', "").contains(steers), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}

/// Bytes as text: UTF-8, or any characters, three bytes each.
fn text(bytes: &[u8]) -> String {
    match bytes.split_first() {
        Some((0..=127, rest)) => String::from_utf8_lossy(rest).into_owned(),
        Some((_, rest)) => rest
            .chunks(3)
            .filter_map(|number| {
                char::from_u32(
                    number
                        .iter()
                        .fold(0, |number, byte| number << 8 | u32::from(*byte)),
                )
            })
            .collect(),
        None => String::new(),
    }
}

/// Written down a second time: control characters (ISO 6429), what changes the order of a line
/// (UAX #9), separators of lines and paragraphs, and invisible characters that hide text.
fn steers(character: char) -> bool {
    matches!(u32::from(character),
        0..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069
        | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}
