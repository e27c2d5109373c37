//! HTTPS origins that a sandbox reaches by a name, with a credential that it never has.

mod kind;
mod origin;
mod served;
mod variables;

use std::fmt::{self, Debug, Formatter};

use sandbox_core::{Error, Result};
use secrecy::SecretString;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::credential::{Scheme, Secret};
use crate::tls;
use crate::variable::check_variable;
pub use kind::{UPSTREAM_KINDS, UpstreamKind};
use origin::Origin;
pub(crate) use served::{ServedUpstream, serve_all};
pub(crate) use variables::list_variables;

/// What errors name.
const KIND: &str = "upstream";
/// The longest name, in characters.
const MAX_NAME: usize = 63;

/// An HTTPS origin that programs in the sandbox reach as `http://127.0.0.1:PORT/NAME/…`, with a credential that stays in this
/// process: the proxy adds it to each request, after it has removed what the sandbox sent in its place.
///
/// The origin needs no rule that allows it, and is allowed in no other way. A rule that denies it is stronger, and if its
/// name leads to an address that is not public, a rule has to allow that network.
///
/// What the sandbox gets instead are variables: the address (`OPENAI_BASE_URL`, `PIP_INDEX_URL` and so on, by its
/// [`UpstreamKind`]), and [`PLACEHOLDER`](Self::PLACEHOLDER) for a key, without which some programs do not start.
///
/// ```
/// use sandbox_egress::{Egress, NamedUpstream, Proxy, UpstreamKind};
///
/// # fn main() -> sandbox_core::Result<()> {
/// # let (key, token) = ("a key", "a token");
/// let openai = NamedUpstream::from_kind(UpstreamKind::OpenAi)?.secret(key)?;
/// let models = NamedUpstream::new("models", "https://models.corp.example/v2")?
///     .header("x-corp-token", token)?
///     .variable("CORP_MODELS_URL")?;
/// let proxy = Proxy::builder(Egress::none().allow("10.1.0.0/16")?).upstreams([openai, models])?.build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NamedUpstream {
    name: String,
    kind: UpstreamKind,
    origin: Origin,
    /// How it is sent, if not as the kind has it, and what.
    credential: Option<(Option<Scheme>, Secret)>,
    /// Variables for the address, and for the placeholder, besides those of the kind.
    variables: Vec<String>,
    key_variables: Vec<String>,
    /// Trusted instead of the machine's authorities.
    authorities: Option<Vec<CertificateDer<'static>>>,
}

impl NamedUpstream {
    /// What variables for keys have as their value. It is no secret.
    pub const PLACEHOLDER: &'static str = "held-by-the-client-of-the-sandbox";

    /// Describes an upstream without a credential. Its kind is the one with this name, such as `openai`, or else
    /// [`UpstreamKind::Plain`].
    ///
    /// `base` is the address that programs would be given without a sandbox: `https://HOST[:PORT][/PATH]`. Requests for
    /// `/NAME/REST` go to `base` with `/REST` at its end, and never to a path that is not below it.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a name with other characters than `a` to `z`, `0` to `9`, `-` and `_`, or for an address of
    /// another form.
    pub fn new(name: impl Into<String>, base: &str) -> Result<Self> {
        let name = name.into();
        check_name(&name)?;
        let kind = UpstreamKind::find(&name).unwrap_or(UpstreamKind::Plain);
        Ok(Self {
            origin: Origin::parse(base)?,
            name,
            kind,
            credential: None,
            variables: Vec::new(),
            key_variables: Vec::new(),
            authorities: None,
        })
    }

    /// Describes the public service that a kind is for, under the kind's name.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for [`UpstreamKind::Plain`], which is for no service.
    pub fn from_kind(kind: UpstreamKind) -> Result<Self> {
        match kind.default_base() {
            Some(base) => Self::new(kind.as_str(), base),
            None => Err(Error::invalid(
                "upstream",
                kind.as_str(),
                "it has no usual address; give it one",
            )),
        }
    }

    /// Sets what it is, which decides its variables and how a [`secret`](Self::secret) is sent.
    pub fn kind(mut self, kind: UpstreamKind) -> Self {
        self.kind = kind;
        self
    }

    /// Sends a secret in the way that is usual for the kind: `Authorization: Bearer …` unless its page says otherwise.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is empty or cannot be sent in a header. The error does not repeat it.
    pub fn secret(self, secret: impl Into<SecretString>) -> Result<Self> {
        self.send(None, secret.into())
    }

    /// Sends `Authorization: Bearer …` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
    ///
    /// # Errors
    ///
    /// As [`secret`](Self::secret).
    pub fn bearer(self, secret: impl Into<SecretString>) -> Result<Self> {
        self.send(Some(Scheme::Bearer), secret.into())
    }

    /// Sends `Authorization: Basic …` ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).
    ///
    /// # Errors
    ///
    /// As [`secret`](Self::secret), and for a user name with a colon.
    pub fn basic(self, user: impl Into<String>, password: impl Into<SecretString>) -> Result<Self> {
        let scheme = Scheme::for_user(KIND, user.into())?;
        self.send(Some(scheme), password.into())
    }

    /// Sends the secret as the value of a header.
    ///
    /// # Errors
    ///
    /// As [`secret`](Self::secret), and for a header that is about the connection, such as `Host`.
    pub fn header(self, header: &str, value: impl Into<SecretString>) -> Result<Self> {
        let scheme = Scheme::for_header(KIND, header)?;
        self.send(Some(scheme), value.into())
    }

    /// Sets one more variable of the sandbox to the upstream's address inside.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if this is no name of a variable.
    pub fn variable(mut self, variable: impl Into<String>) -> Result<Self> {
        self.variables.push(check_variable(KIND, variable.into())?);
        Ok(self)
    }

    /// Sets one more variable of the sandbox to [`PLACEHOLDER`](Self::PLACEHOLDER), for programs that ask for a key.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if this is no name of a variable.
    pub fn key_variable(mut self, variable: impl Into<String>) -> Result<Self> {
        self.key_variables
            .push(check_variable(KIND, variable.into())?);
        Ok(self)
    }

    /// Trusts these authorities, in PEM format, instead of those of this machine: for a private origin.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no certificate in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Self> {
        self.authorities = Some(tls::parse_authorities(KIND, &self.name, pem)?);
        Ok(self)
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its host and port, as a rule of [`Egress`](crate::Egress) has them: `api.openai.com:443`.
    pub fn authority(&self) -> String {
        self.origin.target.to_string()
    }

    /// Checks that one sandbox can have all of these, which every proxy checks as well.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if two have the same name or set the same variable, or if there is no authority to trust.
    pub fn check_all(upstreams: &[Self]) -> Result<()> {
        serve_all(upstreams.iter().cloned()).map(drop)
    }

    /// Whether it has a credential.
    pub fn has_credential(&self) -> bool {
        self.credential.is_some()
    }

    fn send(mut self, scheme: Option<Scheme>, secret: SecretString) -> Result<Self> {
        self.credential = Some((scheme, Secret::new(KIND, &self.name, secret)?));
        Ok(self)
    }
}

/// Without the credential.
impl Debug for NamedUpstream {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamedUpstream")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("base", &self.origin.base())
            .field("has_credential", &self.has_credential())
            .finish_non_exhaustive()
    }
}

/// A name is a segment of a path that no program encodes in another way.
fn check_name(name: &str) -> Result<()> {
    let is_usual = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_usual) {
        return Err(Error::invalid(
            "name of an upstream",
            name,
            "it has other characters than a to z, 0 to 9, - and _, or none, or more than 63",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_rule() {
        for (base, authority) in [
            ("https://A.example/v1", "a.example:443"),
            ("https://a.example:8443", "a.example:8443"),
            ("https://127.0.0.1:1", "127.0.0.1:1"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443"),
        ] {
            let upstream = NamedUpstream::new("a", base).unwrap();
            assert_eq!(upstream.authority(), authority);
            crate::Egress::none().deny(authority).unwrap();
        }
    }

    #[test]
    fn names_are_plain() {
        for name in ["openai", "a", "my-index_2", "0"] {
            assert!(NamedUpstream::new(name, "https://a.example").is_ok());
        }
        let long = "a".repeat(64);
        for name in [
            "", "OpenAI", "a/b", "a b", "..", ".", "a%2f", "ä", "a.b", "a\0", "a\n", "*", &long,
        ] {
            let error = NamedUpstream::new(name, "https://a.example").unwrap_err();
            assert!(error.to_string().contains("name of an upstream"), "{error}");
        }
    }

    #[test]
    fn a_secret_is_neither_printed_nor_repeated_in_errors() {
        let upstream = NamedUpstream::new("a", "https://a.example").unwrap();
        let secret = "sk-live-0123456789";
        let with = upstream.clone().secret(secret).unwrap();
        assert!(!format!("{with:?} {with:#?}").contains("0123"));
        for odd in [
            "sk-live-0123\n",
            "sk-live-0123\0",
            "",
            " ",
            "sk-live-0123\u{e4}",
        ] {
            let error = upstream.clone().bearer(odd).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("0123"), "{error}");
        }
        assert!(upstream.clone().basic("a:b", secret).is_err());
        for odd in [
            "",
            "host",
            "Connection",
            "content-length",
            "transfer-encoding",
            "proxy-authorization",
            "a b",
            "x\r\ny",
        ] {
            assert!(upstream.clone().header(odd, secret).is_err(), "{odd}");
        }
    }
}
