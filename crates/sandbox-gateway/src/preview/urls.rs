//! Addresses of ports, signed so that they open a port that is not public.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox::{SandboxId, Uid};

use super::access::PARAMETER;
use super::signature;
use crate::error::GatewayError;
use crate::sandboxes::tokens::{MIN_SIGNING_KEY, Tokens};

/// Makes addresses of ports for whoever has the gateway's signing key.
///
/// ```
/// use std::time::Duration;
/// use sandbox_gateway::PreviewSigner;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let signer = PreviewSigner::new(&[7; 32], "https://sbx.example.com")?;
/// let (id, uid) = ("k3v9q2".parse()?, sandbox::Uid::new("1f0c"));
/// let url = signer.sign(&id, &uid, 3000, Duration::from_secs(3600));
/// assert!(url.starts_with("https://3000-k3v9q2.sbx.example.com/?sandbox-token="));
/// # Ok(())
/// # }
/// ```
pub struct PreviewSigner {
    tokens: Tokens,
    scheme: String,
    domain: String,
}

impl PreviewSigner {
    /// Signs with this key, for a gateway whose domain has this origin: `https://sbx.example.com`, with a port if it is
    /// not the usual one.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Config`] for a key of less than 32 bytes, and for what is no origin.
    pub fn new(signing_key: &[u8], origin: &str) -> Result<Self, GatewayError> {
        let mut problems = Vec::new();
        if signing_key.len() < MIN_SIGNING_KEY {
            problems.push(format!(
                "the signing key has {} bytes; it needs at least {MIN_SIGNING_KEY} random ones",
                signing_key.len()
            ));
        }
        let parsed = origin.trim_end_matches('/').split_once("://");
        let parsed = parsed.filter(|(scheme, domain)| {
            matches!(*scheme, "http" | "https")
                && domain.parse::<http::uri::Authority>().is_ok()
                && !domain.contains('@')
        });
        match parsed {
            Some((scheme, domain)) if problems.is_empty() => Ok(Self {
                tokens: Tokens::new(signing_key),
                scheme: scheme.to_owned(),
                domain: domain.to_owned(),
            }),
            Some(_) => Err(GatewayError::Config(problems)),
            None => {
                problems.push(format!(
                    "'{origin}' is no origin; give one such as https://sbx.example.com"
                ));
                Err(GatewayError::Config(problems))
            }
        }
    }

    /// Returns the address of a port, without a signature: for ports that are public. Ids are short enough for one label
    /// of a host name (RFC 1035, section 2.3.4).
    pub fn address(&self, id: &SandboxId, port: u16) -> String {
        format!("{}://{port}-{id}.{}/", self.scheme, self.domain)
    }

    /// Returns an address that opens the port for this long, in whole seconds, to whoever has it. It stays valid as long
    /// as this instance of the sandbox exists, and cannot be revoked but with the signing key.
    pub fn sign(&self, id: &SandboxId, uid: &Uid, port: u16, lifetime: Duration) -> String {
        let expires = now().saturating_add(lifetime.as_secs());
        let token = signature::sign(&self.tokens, uid, port, expires);
        format!("{}?{PARAMETER}={token}", self.address(id, port))
    }
}

impl fmt::Debug for PreviewSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreviewSigner")
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

/// Returns the seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_address_is_refused() {
        let mistakes =
            |key: &[u8], origin| PreviewSigner::new(key, origin).unwrap_err().to_string();
        assert!(mistakes(&[0; 31], "https://x").contains("31 bytes"));
        let both = mistakes(&[], "x");
        assert!(
            both.contains("0 bytes") && both.contains("no origin"),
            "{both}"
        );
        for origin in [
            "ftp://x",
            "https://",
            "https://a b",
            "https://u@x",
            "x.example",
        ] {
            assert!(mistakes(&[0; 32], origin).contains("no origin"), "{origin}");
        }
        let signer = PreviewSigner::new(&[0; 32], "http://sbx.test:8080/").unwrap();
        let id = "abc".parse().unwrap();
        assert_eq!(signer.address(&id, 80), "http://80-abc.sbx.test:8080/");
    }
}
