//! Hosts whose TLS ends at the proxy, so that it can add secrets to requests for them that the sandbox never has.

mod authority;
mod host;
mod interception;
mod placeholder;

use std::fmt::{self, Debug, Formatter};

use sandbox_core::{Error, Result};
use secrecy::SecretString;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::credential::{Scheme, Secret};
use crate::rules::name::{Host, HostName, Target};
use crate::tls;
use crate::variable::check_variable;
pub(crate) use host::InterceptedHost;
pub(crate) use interception::Interception;

/// What errors name.
const KIND: &str = "transform";
/// The port of `https` (RFC 9110 §4.2.2).
const HTTPS_PORT: u16 = 443;
/// The port of `http`, which is served without TLS.
const HTTP_PORT: u16 = 80;

const FORM: &str = "write HOST or HOST:PORT, with the name of one host that speaks HTTPS";

/// What the proxy changes in requests for one host, so that a program that has its address built in can use a secret that the
/// sandbox never has.
///
/// Connections to this host and port are *intercepted*: the proxy ends TLS, with a certificate of an authority that is made for
/// this sandbox alone, changes the headers of each request, and sends it to the real host over TLS that it verifies. No other
/// connection is looked into.
///
/// There are two ways to give a secret, and a transform may have both:
///
/// * [`bearer`](Self::bearer), [`basic`](Self::basic) and [`header`](Self::header) set a header of every request, in place of what
///   the sandbox sends there;
/// * [`placeholder`](Self::placeholder) gives commands a variable with a random text that stands for the secret. The proxy
///   exchanges it in the header that has the credential, for this host alone. Elsewhere it is refused.
///
/// As any other host, it needs a rule that allows it.
///
/// ```
/// use std::time::Duration;
///
/// use sandbox_egress::{Egress, HostTransform, Proxy};
///
/// # fn main() -> sandbox_core::Result<()> {
/// # let (key, token) = ("a key", "a token");
/// let openai = HostTransform::new("api.openai.com")?.placeholder("OPENAI_API_KEY", key)?;
/// let internal = HostTransform::new("api.corp.example:8443")?.header("x-corp-token", token)?;
/// let rules = Egress::none().allow("api.openai.com:443")?.allow("api.corp.example:8443")?;
/// let proxy = Proxy::builder(rules).transforms([openai, internal], Duration::from_secs(24 * 3600))?.build();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HostTransform {
    name: HostName,
    port: u16,
    /// Set in each request.
    headers: Vec<(Scheme, Secret)>,
    /// Variables, and what the placeholders in them stand for.
    placeholders: Vec<(String, Secret)>,
    /// Trusted instead of the machine's authorities.
    authorities: Option<Vec<CertificateDer<'static>>>,
}

impl HostTransform {
    /// Describes a host, as `HOST` for port 443 or as `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] unless it is the name of one host. Addresses have no TLS server name, and port 80 no TLS.
    pub fn new(host: &str) -> Result<Self> {
        let invalid = |reason: &str| {
            let reason = format!("it {reason}; {FORM}");
            Error::invalid("host of the transform", host, reason)
        };
        let Target { host: found, port } =
            Target::parse(host, Some(HTTPS_PORT)).map_err(&invalid)?;
        let name = match found {
            Host::Name(name) => name,
            Host::Address(_) => return Err(invalid("is an address")),
        };
        if port == HTTP_PORT {
            return Err(invalid("has port 80, where no TLS is spoken"));
        }
        Ok(Self {
            name,
            port,
            headers: Vec::new(),
            placeholders: Vec::new(),
            authorities: None,
        })
    }

    /// Sets `Authorization: Bearer …` ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)) in each request.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the secret is empty or cannot be sent in a header, or if the header is set already. The error does
    /// not repeat the secret.
    pub fn bearer(self, secret: impl Into<SecretString>) -> Result<Self> {
        self.set(Scheme::Bearer, secret.into())
    }

    /// Sets `Authorization: Basic …` ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)) in each request.
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer), and for a user name with a colon.
    pub fn basic(self, user: impl Into<String>, password: impl Into<SecretString>) -> Result<Self> {
        let scheme = Scheme::for_user(KIND, user.into())?;
        self.set(scheme, password.into())
    }

    /// Sets a header in each request, with the secret as its value.
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer), and for a header that is about the connection, such as `Host`.
    pub fn header(self, header: &str, value: impl Into<SecretString>) -> Result<Self> {
        let scheme = Scheme::for_header(KIND, header)?;
        self.set(scheme, value.into())
    }

    /// Gives commands a variable with a placeholder: `sbx-placeholder-` and 32 random hexadecimal digits, others for each
    /// sandbox. The proxy puts the secret in its place in headers for credentials: `Authorization`, also inside of Basic, and
    /// those whose names end with `token`, `api-key`, `apikey`, `access-key`, `application-key` or `subscription-key`. A
    /// request with a placeholder in another header is refused, because servers repeat those in what they answer. In addresses
    /// and bodies it stays as it is.
    ///
    /// # Errors
    ///
    /// As [`bearer`](Self::bearer), and if this is no name of a variable.
    pub fn placeholder(
        mut self,
        variable: impl Into<String>,
        secret: impl Into<SecretString>,
    ) -> Result<Self> {
        let variable = check_variable(KIND, variable.into())?;
        let secret = Secret::new(KIND, self.name.as_str(), secret.into())?;
        self.placeholders.push((variable, secret));
        Ok(self)
    }

    /// Trusts these authorities, in PEM format, instead of those of this machine: for a private host.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if there is no certificate in it.
    pub fn authorities(mut self, pem: &[u8]) -> Result<Self> {
        self.authorities = Some(tls::parse_authorities(KIND, self.name.as_str(), pem)?);
        Ok(self)
    }

    /// Returns the host and its port, which is also the rule that allows it: `api.example.com:443`.
    pub fn host(&self) -> String {
        self.target().to_string()
    }

    /// Returns the variables with placeholders.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.placeholders
            .iter()
            .map(|(variable, _)| variable.as_str())
    }

    fn target(&self) -> Target {
        Target {
            host: Host::Name(self.name.clone()),
            port: self.port,
        }
    }

    fn set(mut self, scheme: Scheme, secret: SecretString) -> Result<Self> {
        let header = scheme.header();
        if self
            .headers
            .iter()
            .any(|(other, _)| other.header() == header)
        {
            return Err(Error::invalid(
                format!("header of the {KIND}"),
                header.as_str(),
                "it is set already; a request has it once",
            ));
        }
        let secret = Secret::new(KIND, self.name.as_str(), secret)?;
        self.headers.push((scheme, secret));
        Ok(self)
    }
}

/// Without the secrets.
impl Debug for HostTransform {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(scheme, _)| scheme.header())
            .collect();
        let variables: Vec<&str> = self.variables().collect();
        f.debug_struct("HostTransform")
            .field("host", &self.host())
            .field("headers", &headers)
            .field("placeholders", &variables)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_with_a_port_for_tls() {
        for (text, host) in [
            ("api.example.com", "api.example.com:443"),
            ("API.example.com.", "api.example.com:443"),
            ("localhost:8443", "localhost:8443"),
        ] {
            assert_eq!(HostTransform::new(text).unwrap().host(), host);
        }
        for text in [
            "",
            "*",
            "*.example.com",
            "10.0.0.1",
            "[::1]:8443",
            "127.1",
            "a.example:80",
            "a.example:0",
            "https://a.example",
            "a.example/x",
            "a b",
            "user@a.example",
        ] {
            let error = HostTransform::new(text).unwrap_err().to_string();
            assert!(error.contains("write HOST or HOST:PORT"), "{text}: {error}");
        }
    }

    #[test]
    fn a_secret_is_neither_printed_nor_repeated_in_errors() {
        let transform = HostTransform::new("a.example").unwrap();
        let with = transform.clone().bearer("sk-live-0123").unwrap();
        let with = with.placeholder("KEY", "sk-live-0123").unwrap();
        let shown = format!("{with:?} {with:#?}");
        assert!(
            shown.contains("authorization") && shown.contains("KEY"),
            "{shown}"
        );
        assert!(!shown.contains("0123"), "{shown}");
        for odd in ["sk-live-0123\n", "sk-live-0123\0", ""] {
            let error = transform.clone().bearer(odd).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("0123"), "{error}");
            assert!(transform.clone().placeholder("KEY", odd).is_err());
        }
        assert!(with.clone().basic("user", "other").is_err());
        assert!(with.clone().basic("a:b", "other").is_err());
        assert!(with.header("host", "other").is_err());
        assert!(transform.placeholder("A-B", "key").is_err());
    }
}
