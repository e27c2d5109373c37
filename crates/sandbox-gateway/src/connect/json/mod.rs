//! [The JSON of Protocol Buffers](https://protobuf.dev/programming-guides/json/), for use with `#[serde(with = …)]`.
//!
//! A field may be `null`, which means that it is absent; numbers may be text; an enumeration is a name or a number.

pub(crate) mod bytes;
pub(crate) mod int64;
pub(crate) mod timestamp;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Reads a field that may be `null`.
///
/// # Errors
///
/// If it is of another type.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de> + Default,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A `uint32`: a number, or the same as text.
///
/// # Errors
///
/// If it is none, or out of range.
pub(crate) fn uint32<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    optional_uint32(deserializer).map(Option::unwrap_or_default)
}

/// A `uint32` that may be absent.
///
/// # Errors
///
/// As [`uint32`].
pub(crate) fn optional_uint32<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Integer(u32),
        Text(String),
        Float(f64),
    }
    let value = match Option::<Number>::deserialize(deserializer)? {
        None => return Ok(None),
        Some(Number::Integer(number)) => Some(number),
        Some(Number::Text(text)) => text.parse().ok(),
        // JavaScript has no other numbers; a whole one is allowed.
        Some(Number::Float(number)) => number.to_string().parse().ok(),
    };
    value
        .map(Some)
        .ok_or_else(|| D::Error::custom("not a number from 0 to 4294967295"))
}

/// Reads an enumeration: the name of a value, or its number.
///
/// # Errors
///
/// If it is neither.
pub(crate) fn enumeration<'de, D, T>(
    deserializer: D,
    values: &[(&str, i32, T)],
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Copy,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Value {
        Number(i32),
        Name(String),
    }
    let Some(value) = Option::<Value>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let found = values.iter().find(|(name, number, _)| match &value {
        Value::Number(value) => value == number,
        Value::Name(value) => value == name,
    });
    match (found, value) {
        (Some((_, _, value)), _) => Ok(Some(*value)),
        (None, Value::Number(number)) => {
            Err(D::Error::custom(format!("{number} is not a value of this")))
        }
        (None, Value::Name(name)) => {
            Err(D::Error::custom(format!("{name:?} is not a value of this")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Numbers {
        #[serde(default, deserialize_with = "uint32")]
        n: u32,
    }

    #[test]
    fn numbers_may_be_text() {
        let cases = [
            ("{}", 0),
            (r#"{"n":null}"#, 0),
            (r#"{"n":7}"#, 7),
            (r#"{"n":"7"}"#, 7),
            (r#"{"n":7.0}"#, 7),
            (r#"{"n":4294967295}"#, u32::MAX),
        ];
        for (json, expected) in cases {
            assert_eq!(
                serde_json::from_str::<Numbers>(json).unwrap().n,
                expected,
                "{json}"
            );
        }
        for json in [
            r#"{"n":-1}"#,
            r#"{"n":4294967296}"#,
            r#"{"n":1.5}"#,
            r#"{"n":"x"}"#,
            r#"{"n":[]}"#,
        ] {
            assert!(serde_json::from_str::<Numbers>(json).is_err(), "{json}");
        }
    }
}
