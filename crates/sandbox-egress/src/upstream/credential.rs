//! Headers with a secret, and what must never have it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sandbox_core::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

use super::kind::{UpstreamKind, UsualScheme};
use crate::hop_by_hop::HOP_BY_HOP;

/// What stands for a secret that an upstream sent back.
const REDACTED: &str = "[redacted]";

/// What is escaped in addresses at the least (RFC 3986 §2.3).
const RESERVED_CHARACTERS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Headers that decide where a message goes or ends, besides those of one connection.
const RESERVED: [&str; 2] = ["content-length", "host"];

/// Fields by which some servers choose another path, host or client than those of the request.
const OVERRIDES: [&str; 5] = [
    "forwarded",
    "x-forwarded-",
    "x-original-",
    "x-rewrite-",
    "proxy-",
];

/// A secret, and how it is sent.
#[derive(Clone)]
pub(super) struct Credential {
    scheme: Scheme,
    secret: SecretString,
}

/// How a secret is sent.
#[derive(Clone)]
pub(super) enum Scheme {
    /// As the kind of the upstream has it.
    Usual,
    Bearer,
    Basic(String),
    Header(HeaderName),
}

impl Scheme {
    /// Reads the name of a header.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is none, or about the connection.
    pub(super) fn parse_header(header: &str) -> Result<Self> {
        match HeaderName::try_from(header) {
            Ok(name) if !is_reserved(name.as_str()) => Ok(Self::Header(name)),
            Ok(_) | Err(_) => Err(Error::invalid(
                "header of an upstream",
                header,
                "it is no name of a header, or one that is about the connection",
            )),
        }
    }
}

impl Credential {
    /// # Errors
    ///
    /// [`Error::Invalid`], without the secret.
    pub(super) fn new(upstream: &str, scheme: Scheme, secret: SecretString) -> Result<Self> {
        let invalid = |reason| Error::invalid("secret of the upstream", upstream, reason);
        let text = secret.expose_secret();
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        // In base64 every character can be sent, but a line break at its end is always a mistake.
        if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) || text.trim() != text {
            return Err(invalid(
                "it has other characters than visible ASCII, or blanks around it",
            ));
        }
        if let Scheme::Basic(user) = &scheme
            && (user.contains(':') || user.chars().any(char::is_control))
        {
            return Err(invalid("its user name has a colon or control characters"));
        }
        Ok(Self { scheme, secret })
    }

    /// Makes it ready to be sent.
    pub(super) fn resolve(&self, kind: UpstreamKind) -> Injection {
        let secret = self.secret.expose_secret();
        let (header, value, encoded) = match (&self.scheme, kind.usual_scheme()) {
            (Scheme::Bearer, _) | (Scheme::Usual, UsualScheme::Bearer) => {
                (AUTHORIZATION, format!("Bearer {secret}"), None)
            }
            (Scheme::Basic(user), _) => basic(user, secret),
            (Scheme::Usual, UsualScheme::Basic { user }) => basic(user, secret),
            (Scheme::Header(header), _) => (header.clone(), secret.to_owned(), None),
            (Scheme::Usual, UsualScheme::Header(header)) => {
                (HeaderName::from_static(header), secret.to_owned(), None)
            }
        };
        let mut forms = vec![self.secret.clone()];
        for set in [NON_ALPHANUMERIC, RESERVED_CHARACTERS] {
            forms.push(utf8_percent_encode(secret, set).to_string().into());
        }
        forms.extend(encoded.map(SecretString::from));
        Injection {
            header,
            value: value.into(),
            forms,
        }
    }
}

fn basic(user: &str, password: &str) -> (HeaderName, String, Option<String>) {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    (AUTHORIZATION, format!("Basic {encoded}"), Some(encoded))
}

/// A header to be added to requests.
pub(super) struct Injection {
    header: HeaderName,
    value: SecretString,
    /// How the secret may be spelt.
    forms: Vec<SecretString>,
}

impl Injection {
    /// Adds the header, in place of what a request has under its name.
    ///
    /// # Errors
    ///
    /// Never in practice: the secret was checked.
    pub(super) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), &'static str> {
        let value = HeaderValue::try_from(self.value.expose_secret());
        let mut value = value.map_err(|_| "the credential of the upstream cannot be sent")?;
        value.set_sensitive(true);
        headers.insert(self.header.clone(), value);
        Ok(())
    }

    /// Removes the secret from the headers of a response.
    pub(super) fn redact(&self, headers: &mut HeaderMap) {
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

/// Removes what a sandbox may have sent in the place of a credential, and what could lead a server elsewhere. `_` counts
/// as `-`, because servers that pass headers on as variables take them to be the same.
pub(super) fn remove_own(headers: &mut HeaderMap, injection: Option<&Injection>) {
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let plain = name.as_str().replace('_', "-");
            plain == AUTHORIZATION.as_str()
                || injection.is_some_and(|one| plain == one.header.as_str().replace('_', "-"))
                || OVERRIDES.iter().any(|prefix| plain.starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
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

/// Whether a header decides where a message goes or ends.
fn is_reserved(name: &str) -> bool {
    HOP_BY_HOP.contains(&name) || RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sk-live/0123456789+";

    fn injection(scheme: Scheme, kind: UpstreamKind) -> Injection {
        Credential::new("a", scheme, SECRET.into())
            .unwrap()
            .resolve(kind)
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::try_from(*name).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn each_kind_sends_its_secret_in_its_way() {
        let sent = |scheme, kind| {
            let mut sent = HeaderMap::new();
            injection(scheme, kind).add_to(&mut sent).unwrap();
            let (name, value) = sent.iter().next().unwrap();
            assert!(value.is_sensitive() && !format!("{sent:?}").contains("0123"));
            format!("{name}: {}", value.to_str().unwrap())
        };
        let bearer = format!("authorization: Bearer {SECRET}");
        let token = STANDARD.encode(format!("__token__:{SECRET}"));
        assert_eq!(sent(Scheme::Usual, UpstreamKind::OpenAi), bearer);
        assert_eq!(sent(Scheme::Bearer, UpstreamKind::Anthropic), bearer);
        assert_eq!(
            sent(Scheme::Usual, UpstreamKind::Anthropic),
            format!("x-api-key: {SECRET}")
        );
        assert_eq!(
            sent(Scheme::Usual, UpstreamKind::PyPi),
            format!("authorization: Basic {token}")
        );
    }

    #[test]
    fn what_a_sandbox_sends_in_its_place_is_removed() {
        let scheme = Scheme::parse_header("X-Api-Key").unwrap();
        let one = injection(scheme, UpstreamKind::Plain);
        let mut sent = headers(&[
            ("x-api-key", "own"),
            ("x-api-key", "own"),
            ("x_api_key", "own"),
            ("authorization", "own"),
            ("proxy-authorization", "own"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("accept", "*/*"),
        ]);
        remove_own(&mut sent, Some(&one));
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn a_secret_that_comes_back_in_headers_is_redacted() {
        let one = injection(Scheme::Basic("user".into()), UpstreamKind::Plain);
        let token = STANDARD.encode(format!("user:{SECRET}"));
        let twice = format!("a={SECRET}; b={SECRET}!");
        let mut sent = headers(&[
            ("x-echo", &twice),
            ("x-token", &format!("Basic {token}")),
            ("location", "/?k=sk%2Dlive%2F0123456789%2B"),
            ("refresh", "0; /?k=sk-live%2F0123456789%2B"),
            ("accept", "*/*"),
        ]);
        one.redact(&mut sent);
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
        let scheme = Scheme::Bearer;
        let plain = Credential::new("a", scheme, "Key-ABC".into()).unwrap();
        let mut sent = headers(&[("x-key-abc-1", "1"), ("x-other", "2")]);
        plain.resolve(UpstreamKind::Plain).redact(&mut sent);
        assert_eq!(sent, headers(&[("x-other", "2")]));
    }
}
