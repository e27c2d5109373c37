//! What of a call's arguments is recorded: not the content of files, and no secret that can be recognised.

use sandbox::Escaped;
use serde_json::{Map, Value};

/// The most characters of a value.
const MAX_CHARS: usize = 500;
/// The most arguments. No tool has more.
const MAX_ARGUMENTS: usize = 16;
/// Arguments that are the content of files.
const CONTENTS: [&str; 3] = ["content", "old", "new"];
/// What stands in place of a secret.
const MASK: &str = "***";
/// Words that announce a secret after them.
const ANNOUNCEMENTS: [&str; 8] = [
    "password",
    "passwd",
    "secret",
    "token",
    "apikey",
    "api_key",
    "api-key",
    "authorization",
];

/// Shortens arguments for the record.
pub(crate) fn shorten_arguments(arguments: &Map<String, Value>) -> Map<String, Value> {
    arguments
        .iter()
        .take(MAX_ARGUMENTS)
        .map(|(name, value)| {
            let shown = match value {
                Value::String(text) if CONTENTS.contains(&name.as_str()) => {
                    Value::String(format!("({} bytes)", text.len()))
                }
                Value::String(text) => Value::String(shorten(&mask_secrets(text))),
                // Variables often are secrets.
                Value::Object(map) => Value::Array(
                    map.keys()
                        .take(MAX_ARGUMENTS)
                        .map(|key| Value::String(shorten(key)))
                        .collect(),
                ),
                Value::Array(items) => Value::String(format!("({} items)", items.len())),
                Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            };
            (shorten(name), shown)
        })
        .collect()
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Replaces what looks like a secret in a command line: `TOKEN=x`, `--password x`, `Authorization: Bearer x`,
/// `https://user:x@host`. What does not look like one stays, so the record is as confidential as a shell's history.
fn mask_secrets(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut is_announced = false;
    // The white space stays with the word before it.
    for word in text.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        let space = &word[bare.len()..];
        let lower = bare.to_ascii_lowercase();
        let lower = lower.trim_matches(['"', '\'']);
        if bare.is_empty() {
            masked.push_str(space);
            continue;
        }
        if is_announced && !matches!(lower, "bearer" | "basic" | "=" | ":") {
            masked.push_str(MASK);
            masked.push_str(space);
            is_announced = false;
            continue;
        }
        match bare.find(['=', ':']) {
            Some(at) if announces(&bare[..at]) => {
                masked.push_str(&bare[..=at]);
                if bare[at + 1..].trim_matches(['"', '\'']).is_empty() {
                    is_announced = true;
                } else {
                    masked.push_str(MASK);
                }
            }
            _ => {
                masked.push_str(&mask_user_info(bare));
                is_announced = (is_announced && !lower.is_empty())
                    || matches!(lower, "bearer" | "basic")
                    || (bare.starts_with('-') && announces(bare));
            }
        }
        masked.push_str(space);
    }
    masked
}

/// Whether a word says that a secret follows.
fn announces(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    ANNOUNCEMENTS.iter().any(|name| word.ends_with(name))
}

/// Replaces the password of an address.
fn mask_user_info(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let authority = &rest[..rest.find('/').unwrap_or(rest.len())];
    match authority.rsplit_once('@') {
        Some((user_info, _)) if user_info.contains(':') => {
            let user = user_info.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:{MASK}{}", &rest[user_info.len()..])
        }
        Some(_) | None => word.to_owned(),
    }
}

/// Escapes and shortens text for the record that may come from a sandbox or a client.
pub(crate) fn shorten_text(text: &str) -> String {
    Escaped::new(text).with_max_chars(MAX_CHARS).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_masked() {
        for (text, masked) in [
            ("ls -la  /tmp", "ls -la  /tmp"),
            ("TOKEN=abc make", "TOKEN=*** make"),
            ("export API_KEY=\"a b\"", "export API_KEY=*** b\""),
            ("mysql --password hunter2 -u x", "mysql --password *** -u x"),
            ("curl --token=abc", "curl --token=***"),
            (
                "curl -H \"Authorization: Bearer abc\" x",
                "curl -H \"Authorization: Bearer *** x",
            ),
            (
                "git clone https://ada:pw@host/x",
                "git clone https://ada:***@host/x",
            ),
            (
                "git clone https://ada@host/x",
                "git clone https://ada@host/x",
            ),
            ("grep secret file", "grep secret file"),
            ("echo é\n\nls", "echo é\n\nls"),
            ("--token", "--token"),
        ] {
            assert_eq!(mask_secrets(text), masked, "{text}");
        }
    }

    #[test]
    fn arguments_are_bounded() {
        let long = "é".repeat(10_000);
        let many: Map<String, Value> = (0..100)
            .map(|n| (format!("{n}{long}"), Value::String(long.clone())))
            .collect();
        let short = shorten_arguments(&many);
        assert_eq!(short.len(), MAX_ARGUMENTS);
        assert!(Value::Object(short).to_string().len() < 50_000);
        let env = serde_json::json!({"env": {"KEY": "hush"}, "old": "x", "n": 1});
        let Value::Object(env) = env else {
            unreachable!("it is an object");
        };
        let short = Value::Object(shorten_arguments(&env));
        assert_eq!(
            short,
            serde_json::json!({"env": ["KEY"], "old": "(1 bytes)", "n": 1})
        );
    }
}
