//! Secrets that a server sends back in headers.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue};
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

use super::Secret;

/// What stands for a secret that was sent back.
const REDACTED: &str = "[redacted]";

/// What is escaped in addresses at the least (RFC 3986 §2.3).
const RESERVED_CHARACTERS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How secrets may be spelt in what comes back.
#[derive(Clone, Default)]
pub(crate) struct Redaction {
    forms: Vec<SecretString>,
}

impl Redaction {
    /// A secret as it is, and as it is escaped in addresses.
    pub(crate) fn for_secret(secret: &Secret) -> Self {
        let mut forms = vec![secret.0.clone()];
        for set in [NON_ALPHANUMERIC, RESERVED_CHARACTERS] {
            let escaped = utf8_percent_encode(secret.expose(), set).to_string();
            forms.push(escaped.into());
        }
        Self { forms }
    }

    /// Adds another spelling.
    pub(crate) fn add(&mut self, form: SecretString) {
        self.forms.push(form);
    }

    /// Adds all spellings of another one.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.forms.extend(other.forms.iter().cloned());
    }

    /// Removes the secrets from the headers of a response.
    pub(crate) fn redact(&self, headers: &mut HeaderMap) {
        let mut named = Vec::new();
        for (name, value) in headers.iter_mut() {
            // A number cannot be cut, and was read before.
            if name == CONTENT_LENGTH {
                continue;
            }
            for form in &self.forms {
                if let Some(redacted) = redact(value.as_bytes(), form.expose_secret()) {
                    *value = redacted;
                }
            }
        }
        for name in headers.keys() {
            // Names are in lower case.
            let has = |form: &SecretString| {
                name.as_str()
                    .contains(&form.expose_secret().to_ascii_lowercase())
            };
            if name != CONTENT_LENGTH && self.forms.iter().any(has) {
                named.push(name.clone());
            }
        }
        for name in named {
            headers.remove(name);
        }
    }
}

fn redact(value: &[u8], secret: &str) -> Option<HeaderValue> {
    memmem::find(value, secret.as_bytes())?;
    let mut redacted = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memmem::find(rest, secret.as_bytes()) {
        redacted.extend_from_slice(&rest[..at]);
        redacted.extend_from_slice(REDACTED.as_bytes());
        rest = &rest[at + secret.len()..];
    }
    redacted.extend_from_slice(rest);
    Some(HeaderValue::from_bytes(&redacted).unwrap_or_else(|_| HeaderValue::from_static(REDACTED)))
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::super::tests::{SECRET, headers, injection};
    use super::super::{Injection, Scheme};

    #[test]
    fn a_secret_that_comes_back_in_headers_is_redacted() {
        let one = injection(&Scheme::Basic("user".into()));
        let token = STANDARD.encode(format!("user:{SECRET}"));
        let twice = format!("a={SECRET}; b={SECRET}!");
        let mut sent = headers(&[
            ("x-echo", &twice),
            ("x-token", &format!("Basic {token}")),
            ("location", "/?k=sk%2Dlive%2F0123456789%2B"),
            ("refresh", "0; /?k=sk-live%2F0123456789%2B"),
            ("accept", "*/*"),
        ]);
        one.redaction().redact(&mut sent);
        assert_eq!(
            sent,
            headers(&[
                ("x-echo", "a=[redacted]; b=[redacted]!"),
                ("x-token", "Basic [redacted]"),
                ("location", "/?k=[redacted]"),
                ("refresh", "0; /?k=[redacted]"),
                ("accept", "*/*"),
            ])
        );
        let plain = super::Secret::new("upstream", "a", "Key-ABC".into()).unwrap();
        let mut sent = headers(&[("x-key-abc-1", "1"), ("x-other", "2")]);
        let injection = Injection::new(&Scheme::Bearer, &plain);
        injection.redaction().redact(&mut sent);
        assert_eq!(sent, headers(&[("x-other", "2")]));
    }
}
