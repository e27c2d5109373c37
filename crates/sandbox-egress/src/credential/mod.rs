//! Secrets in headers of requests, and what must never have them.

mod redaction;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use sandbox_core::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

use crate::hop_by_hop::HOP_BY_HOP;
pub(crate) use redaction::Redaction;

/// Headers that decide where a message goes or ends, besides those of one connection.
const RESERVED: [&str; 2] = ["content-length", "host"];

/// Fields by which some servers choose another path, host or client than those of the request.
const OVERRIDES: [&str; 7] = [
    "forwarded",
    "x-forwarded-",
    "x-host",
    "x-http-host-override",
    "x-original-",
    "x-rewrite-",
    "proxy-",
];

/// How a secret is sent.
#[derive(Debug, Clone)]
pub(crate) enum Scheme {
    /// `Authorization: Bearer …`.
    Bearer,
    /// `Authorization: Basic …`, with this user name.
    Basic(String),
    /// As the value of this header.
    Header(HeaderName),
}

impl Scheme {
    /// Sends the secret as the password of a user. `of` is what the secret belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name that Basic cannot send.
    pub(crate) fn for_user(of: &str, user: String) -> Result<Self> {
        if user.contains(':') || user.chars().any(char::is_control) {
            return Err(Error::invalid(
                format!("user of the {of}"),
                user,
                "it has a colon or control characters",
            ));
        }
        Ok(Self::Basic(user))
    }

    /// The header that the secret is in.
    pub(crate) fn header(&self) -> HeaderName {
        match self {
            Self::Bearer | Self::Basic(_) => AUTHORIZATION,
            Self::Header(header) => header.clone(),
        }
    }

    /// Sends the secret as the value of a header. `of` is what the secret belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is no name of a header, or one about the connection.
    pub(crate) fn for_header(of: &str, header: &str) -> Result<Self> {
        match HeaderName::try_from(header) {
            Ok(name) if !is_reserved(name.as_str()) => Ok(Self::Header(name)),
            Ok(_) | Err(_) => Err(Error::invalid(
                format!("header of the {of}"),
                header,
                "it is no name of a header, or one that is about the connection",
            )),
        }
    }
}

/// A secret that a header can have.
#[derive(Clone)]
pub(crate) struct Secret(SecretString);

impl Secret {
    /// Checks a secret. `of` and `name` are what it belongs to.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`], without the secret.
    pub(crate) fn new(of: &str, name: &str, secret: SecretString) -> Result<Self> {
        let invalid = |reason| Error::invalid(format!("secret of the {of}"), name, reason);
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
        Ok(Self(secret))
    }

    pub(crate) fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// A header to be added to requests.
pub(crate) struct Injection {
    header: HeaderName,
    value: SecretString,
    redaction: Redaction,
}

impl Injection {
    pub(crate) fn new(scheme: &Scheme, secret: &Secret) -> Self {
        let mut redaction = Redaction::for_secret(secret);
        let text = secret.expose();
        let value = match scheme {
            Scheme::Bearer => format!("Bearer {text}"),
            Scheme::Basic(user) => {
                let encoded = STANDARD.encode(format!("{user}:{text}"));
                redaction.add(encoded.clone().into());
                format!("Basic {encoded}")
            }
            Scheme::Header(_) => text.to_owned(),
        };
        Self {
            header: scheme.header(),
            value: value.into(),
            redaction,
        }
    }

    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// How the secret may be spelt in what comes back.
    pub(crate) fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// Adds the header, in place of what a request has under its name.
    ///
    /// # Errors
    ///
    /// Never in practice: the secret was checked.
    pub(crate) fn add_to(&self, headers: &mut HeaderMap) -> Result<(), &'static str> {
        let value = HeaderValue::try_from(self.value.expose_secret());
        let mut value = value.map_err(|_| "the credential cannot be sent")?;
        value.set_sensitive(true);
        headers.insert(self.header.clone(), value);
        Ok(())
    }
}

/// Removes what a sandbox may have sent in the place of credentials, which are in these headers, and what could lead a server
/// elsewhere. `_` counts as `-`, because servers that pass headers on as variables take them to be the same.
pub(crate) fn remove_own(headers: &mut HeaderMap, of_credentials: &[&HeaderName]) {
    let removed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let plain = name.as_str().replace('_', "-");
            let is_same = |one: &&HeaderName| plain == one.as_str().replace('_', "-");
            of_credentials.iter().any(is_same)
                || OVERRIDES.iter().any(|prefix| plain.starts_with(prefix))
        })
        .cloned()
        .collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Whether a header decides where a message goes or ends.
fn is_reserved(name: &str) -> bool {
    HOP_BY_HOP.contains(&name) || RESERVED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SECRET: &str = "sk-live/0123456789+";

    pub(super) fn injection(scheme: &Scheme) -> Injection {
        Injection::new(
            scheme,
            &Secret::new("upstream", "a", SECRET.into()).unwrap(),
        )
    }

    pub(super) fn headers(fields: &[(&str, &str)]) -> HeaderMap {
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
    fn each_scheme_sends_the_secret_in_its_way() {
        let sent = |scheme| {
            let mut sent = HeaderMap::new();
            injection(&scheme).add_to(&mut sent).unwrap();
            let (name, value) = sent.iter().next().unwrap();
            assert!(value.is_sensitive() && !format!("{sent:?}").contains("0123"));
            format!("{name}: {}", value.to_str().unwrap())
        };
        let token = STANDARD.encode(format!("__token__:{SECRET}"));
        assert_eq!(
            sent(Scheme::Bearer),
            format!("authorization: Bearer {SECRET}")
        );
        assert_eq!(
            sent(Scheme::for_header("upstream", "X-Api-Key").unwrap()),
            format!("x-api-key: {SECRET}")
        );
        assert_eq!(
            sent(Scheme::for_user("upstream", "__token__".into()).unwrap()),
            format!("authorization: Basic {token}")
        );
    }

    #[test]
    fn what_a_sandbox_sends_in_its_place_is_removed() {
        let one = injection(&Scheme::for_header("upstream", "X-Api-Key").unwrap());
        let mut sent = headers(&[
            ("x-api-key", "own"),
            ("x-api-key", "own"),
            ("x_api_key", "own"),
            ("authorization", "own"),
            ("proxy-authorization", "own"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "host=evil.example"),
            ("x-host", "evil.example"),
            ("x-http-host-override", "evil.example"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("accept", "*/*"),
        ]);
        remove_own(&mut sent, &[one.header(), &AUTHORIZATION]);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }
}
