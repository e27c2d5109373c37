//! Texts that stand for secrets inside a sandbox.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use sandbox_core::{Error, Result};

use crate::credential::{Redaction, Secret};

/// What each placeholder begins with.
const PREFIX: &str = "sbx-placeholder-";
/// How many random bytes follow, as hexadecimal digits.
const RANDOM_BYTES: usize = 16;
/// The longest value that an exchange may lead to: a header may have many placeholders.
const MAX_VALUE: usize = 64 * 1024;

/// What names of headers with credentials end with.
const CREDENTIAL_SUFFIXES: [&str; 6] = [
    "token",
    "api-key",
    "apikey",
    "access-key",
    "application-key",
    "subscription-key",
];

/// Reads what programs send, and writes what they would.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A random text that stands for a secret.
pub(super) struct Placeholder {
    variable: String,
    text: String,
    secret: Secret,
}

impl Placeholder {
    /// # Errors
    ///
    /// [`Error::Backend`] if the system has no randomness.
    pub(super) fn new(variable: String, secret: Secret) -> Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|source| Error::Backend {
            backend: "system",
            operation: "read random bytes",
            message: "the operating system provided no randomness".into(),
            transient: false,
            source: Some(Box::new(source)),
        })?;
        Ok(Self {
            variable,
            text: format!("{PREFIX}{:032x}", u128::from_be_bytes(bytes)),
            secret,
        })
    }

    /// The variable that it is in.
    pub(super) fn variable(&self) -> &str {
        &self.variable
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Whether a header has it, also inside of Basic.
    pub(super) fn is_in(&self, value: &HeaderValue) -> bool {
        let has = |text: &[u8]| memmem::find(text, self.text.as_bytes()).is_some();
        has(value.as_bytes()) || decode_basic(value.as_bytes()).is_some_and(|text| has(&text))
    }
}

/// Puts secrets in the place of their placeholders, in headers for credentials. Returns further spellings of the secrets that
/// this led to.
///
/// # Errors
///
/// What is wrong, if there is one in another header.
pub(super) fn exchange(
    headers: &mut HeaderMap,
    placeholders: &[Placeholder],
) -> Result<Redaction, String> {
    let mut spellings = Redaction::default();
    for (name, value) in headers.iter_mut() {
        let Some(found) = placeholders.iter().find(|one| one.is_in(value)) else {
            continue;
        };
        if !is_for_credentials(name) {
            return Err(format!(
                "the placeholder in {} is not for the header {name}; it is exchanged in Authorization and in headers whose names \
                 end with {}",
                found.variable,
                CREDENTIAL_SUFFIXES.join(", ")
            ));
        }
        let exchanged = match decode_basic(value.as_bytes()) {
            Some(text) => {
                let encoded = BASE64.encode(put_secrets(&text, placeholders));
                spellings.add(encoded.clone().into());
                format!("Basic {encoded}").into_bytes()
            }
            None => put_secrets(value.as_bytes(), placeholders),
        };
        let exchanged = Some(exchanged).filter(|value| value.len() <= MAX_VALUE);
        let exchanged = exchanged.and_then(|value| HeaderValue::from_bytes(&value).ok());
        let Some(mut exchanged) = exchanged else {
            return Err(format!("the header {name} is too long"));
        };
        exchanged.set_sensitive(true);
        *value = exchanged;
    }
    Ok(spellings)
}

fn is_for_credentials(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "authorization" || CREDENTIAL_SUFFIXES.iter().any(|end| name.ends_with(end))
}

/// Returns what is inside of Basic (RFC 7617 §2), if a value has that form.
fn decode_basic(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    BASE64.decode(encoded.trim_ascii()).ok()
}

fn put_secrets(text: &[u8], placeholders: &[Placeholder]) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memmem::find(rest, PREFIX.as_bytes()) {
        written.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let found = placeholders
            .iter()
            .find(|one| rest.starts_with(one.text.as_bytes()));
        let (replacement, length) = match found {
            Some(one) => (one.secret.expose(), one.text.len()),
            None => (PREFIX, PREFIX.len()),
        };
        written.extend_from_slice(replacement.as_bytes());
        rest = &rest[length..];
    }
    written.extend_from_slice(rest);
    written
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn placeholder(variable: &str, secret: &str) -> Placeholder {
        let secret = Secret::new("transform", "a.example", secret.to_owned().into()).unwrap();
        Placeholder::new(variable.into(), secret).unwrap()
    }

    fn headers(fields: &[(&'static str, String)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, String)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    #[test]
    fn placeholders_are_random_and_have_one_form() {
        let (one, other) = (placeholder("A", "s"), placeholder("A", "s"));
        assert_ne!(one.text(), other.text());
        let digits = one.text().strip_prefix(PREFIX).unwrap();
        assert_eq!(digits.len(), 2 * RANDOM_BYTES);
        assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn secrets_take_their_place_in_headers_for_credentials() {
        let list = [placeholder("A", "secret-a"), placeholder("B", "secret-b")];
        let [a, b] = [list[0].text(), list[1].text()];
        let basic = |text: String| format!("bAsIc {}", STANDARD.encode(text));
        for (name, value, expected) in [
            (
                "authorization",
                format!("Bearer {a}"),
                "Bearer secret-a".to_owned(),
            ),
            ("x-api-key", b.to_owned(), "secret-b".into()),
            (
                "private-token",
                format!("{a}{b}-{a}"),
                "secret-asecret-b-secret-a".into(),
            ),
            (
                "authorization",
                format!("Basic {a}"),
                "Basic secret-a".into(),
            ),
            (
                "authorization",
                basic(format!("user:{a}")),
                format!("Basic {}", STANDARD.encode("user:secret-a")),
            ),
            (
                "authorization",
                format!("Bearer {PREFIX}{PREFIX}0"),
                format!("Bearer {PREFIX}{PREFIX}0"),
            ),
        ] {
            let mut sent = headers(&[(name, value.clone()), ("accept", "*/*".into())]);
            exchange(&mut sent, &list).unwrap();
            assert_eq!(sent[name], expected, "{value}");
            assert_eq!(sent[name].is_sensitive(), value != expected);
        }
    }

    #[test]
    fn the_spelling_of_basic_is_redacted_too() {
        let list = [placeholder("A", "secret-a")];
        let value = format!(
            "Basic {}",
            STANDARD.encode(format!("user:{}", list[0].text()))
        );
        let mut sent = headers(&[("authorization", value)]);
        let spellings = exchange(&mut sent, &list).unwrap();
        let mut echoed = headers(&[("x-echo", STANDARD.encode("user:secret-a"))]);
        spellings.redact(&mut echoed);
        assert_eq!(echoed["x-echo"], "[redacted]");
    }

    /// Servers repeat the id of a request in their answers, also in bodies.
    #[test]
    fn a_placeholder_in_another_header_is_refused() {
        let list = [placeholder("A", "secret-a")];
        for name in [
            "x-request-id",
            "user-agent",
            "referer",
            "idempotency-key",
            "cookie",
            "origin",
            "accept",
        ] {
            let mut sent = headers(&[(name, list[0].text().to_owned())]);
            let reason = exchange(&mut sent, &list).err().unwrap();
            assert!(
                reason.contains(&format!(
                    "the placeholder in A is not for the header {name}"
                )),
                "{reason}"
            );
            assert_eq!(sent[name], list[0].text());
        }
    }

    #[test]
    fn many_placeholders_do_not_make_a_header_endless() {
        let list = [placeholder("A", &"s".repeat(2000))];
        let mut sent = headers(&[("authorization", list[0].text().repeat(100))]);
        assert!(exchange(&mut sent, &list).is_err());
    }
}
