//! Text from a sandbox that the command shows on a terminal: names, labels, states, errors, logs.

#[path = "../../../crates/sandbox-cli/src/ui/json.rs"]
mod cli_json;

use cli_json::escape_json;
use sandbox::{Escaped, FilePath};

/// No character controls the terminal, other characters are unchanged, and JSON keeps its value.
pub(crate) fn target(bytes: &[u8]) {
    let text = text_from(bytes);
    let shown = Escaped::new(&text).to_string();
    assert!(!shown.contains(is_control), "{shown:?}");
    assert_eq!(
        Escaped::new(&shown).to_string(),
        shown,
        "escaping twice changes nothing"
    );
    // Each character of the text is shown, in order.
    let mut rest = shown.as_str();
    for character in text.chars() {
        let escape = character.escape_default().to_string();
        let itself = rest
            .strip_prefix(character)
            .filter(|_| !is_control(character));
        rest = itself
            .or_else(|| rest.strip_prefix(&escape))
            .expect("each character is shown");
        assert!(
            itself.is_some() || !character.is_alphanumeric(),
            "{character:?} needs no escape"
        );
    }
    assert!(rest.is_empty(), "{rest:?} is not in the text");

    // Bytes that are no text are escaped as well, and JSON keeps each name.
    let path = FilePath::from(bytes);
    for shown in [Escaped::new(bytes).to_string(), path.to_string()] {
        assert!(!shown.contains(is_control), "{shown:?}");
    }
    let json = serde_json::to_string(&path).unwrap();
    assert_eq!(serde_json::from_str::<FilePath>(&json).unwrap(), path);

    let value = serde_json::json!({ text.clone(): [text, "x"] });
    for json in [
        value.to_string(),
        serde_json::to_string_pretty(&value).unwrap(),
    ] {
        let shown = escape_json(&json);
        assert!(!shown.replace('\n', "").contains(is_control), "{shown:?}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
    }
}

/// Bytes as text: UTF-8, or any characters of three bytes each.
fn text_from(bytes: &[u8]) -> String {
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

/// A second definition, independent of the tested one: control characters (ISO 6429), characters
/// that change the order of a line (UAX #9), line and paragraph separators, and invisible
/// characters.
fn is_control(character: char) -> bool {
    matches!(u32::from(character),
        0..=0x1f | 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069
        | 0xfeff | 0xfff9..=0xfffb | 0xe0000..=0xe007f)
}
