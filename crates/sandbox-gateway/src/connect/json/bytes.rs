//! `bytes`: standard base64 with padding; the URL-safe alphabet and no padding are accepted.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// Decodes base64; `None` for what is none.
pub(crate) fn decode(text: &str) -> Option<Bytes> {
    let alphabet = if text.contains(['-', '_']) {
        &URL_SAFE
    } else {
        &STANDARD
    };
    let engine = GeneralPurpose::new(alphabet, LENIENT);
    engine.decode(text).ok().map(Bytes::from)
}

/// Reads a field that may be absent.
///
/// # Errors
///
/// If it is not base64.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Bytes>, D::Error> {
    let Some(text) = Option::<std::borrow::Cow<'_, str>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    decode(&text)
        .map(Some)
        .ok_or_else(|| D::Error::custom("not base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_base64_is_read() {
        let cases: [(&str, &[u8]); 6] = [
            ("", b""),
            ("aGk=", b"hi"),
            ("aGk", b"hi"),
            ("+/8=", b"\xfb\xff"),
            ("-_8=", b"\xfb\xff"),
            ("-_8", b"\xfb\xff"),
        ];
        for (text, expected) in cases {
            assert_eq!(decode(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["a", "a b=", "aGk=\n", "+_8="] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
