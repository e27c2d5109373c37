//! SSH keys: one pair for the host and one for the user, generated for every sandbox.

use std::fmt;
use std::str::FromStr;

use ssh_key::{LineEnding, private::Ed25519Keypair};
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, Result};

/// A private key in OpenSSH's text format ([PROTOCOL.key]). It is wiped from memory when dropped,
/// and never printed.
///
/// [PROTOCOL.key]: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<String>);

/// A public key in OpenSSH's one-line format: `ssh-ed25519 AAAA…`, without a comment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(String);

/// A private key and its public key.
///
/// ```
/// use sandbox_core::{KeyPair, PublicKey};
///
/// # fn main() -> sandbox_core::Result<()> {
/// let pair = KeyPair::generate()?;
/// let parsed: PublicKey = pair.public.as_str().parse()?;
/// assert_eq!(parsed, pair.private.public_key()?);
/// assert_eq!(format!("{:?}", pair.private), "PrivateKey(…)");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct KeyPair {
    /// The private key.
    pub private: PrivateKey,
    /// The public key.
    pub public: PublicKey,
}

impl KeyPair {
    /// Generates an ed25519 key pair ([RFC 8709](https://www.rfc-editor.org/rfc/rfc8709)).
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the operating system provides no randomness.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|source| key_error("the operating system provided no randomness", source))?;
        let key = ssh_key::PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let public = key
            .public_key()
            .to_openssh()
            .map_err(|source| key_error("the new key cannot be encoded", source))?;
        let private = key
            .to_openssh(LineEnding::LF)
            .map_err(|source| key_error("the new key cannot be encoded", source))?;
        Ok(Self {
            private: PrivateKey(private),
            public: PublicKey(public),
        })
    }
}

impl PrivateKey {
    /// Parses a private key in OpenSSH's text format. The memory of the argument is wiped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is not a private key, or is protected by a passphrase. The error
    /// does not contain the text.
    pub fn from_openssh(mut text: String) -> Result<Self> {
        let parsed = ssh_key::PrivateKey::from_openssh(text.as_bytes());
        let copy = Zeroizing::new(text.clone());
        text.zeroize();
        match parsed {
            Ok(key) if key.is_encrypted() => Err(Error::invalid(
                "private key",
                "(not shown)",
                "it is protected by a passphrase; use one without",
            )),
            Ok(_) => Ok(Self(copy)),
            Err(_) => Err(Error::invalid(
                "private key",
                "(not shown)",
                "it is not an OpenSSH private key (BEGIN OPENSSH PRIVATE KEY)",
            )),
        }
    }

    /// Returns the text of the key, to connect with it or to store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the public key.
    ///
    /// # Errors
    ///
    /// Never in practice: the key was already parsed.
    pub fn public_key(&self) -> Result<PublicKey> {
        ssh_key::PrivateKey::from_openssh(self.0.as_bytes())
            .and_then(|key| {
                ssh_key::PublicKey::from(key.public_key().key_data().clone()).to_openssh()
            })
            .map(PublicKey)
            .map_err(|source| key_error("the private key cannot be parsed", source))
    }
}

/// Shows that there is a key, never the key itself.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PublicKey {
    /// Returns the one-line format.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key's SHA-256 fingerprint, as shown by `ssh-keygen -l`.
    ///
    /// # Errors
    ///
    /// Never in practice: the key was already parsed.
    pub fn fingerprint(&self) -> Result<String> {
        ssh_key::PublicKey::from_openssh(&self.0)
            .map(|key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
            .map_err(|source| key_error("the public key cannot be parsed", source))
    }
}

/// Parses the one-line format. A comment is dropped, so that equal keys compare equal.
impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(|_| {
            Error::invalid(
                "public key",
                text.trim(),
                "use OpenSSH's one-line form: ssh-ed25519 AAAA…",
            )
        })?;
        let bare = ssh_key::PublicKey::from(key.key_data().clone());
        bare.to_openssh()
            .map(Self)
            .map_err(|source| key_error("the public key cannot be encoded", source))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn key_error(
    message: &'static str,
    source: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::Backend {
        backend: "system",
        operation: "generate or encode a key",
        message: message.into(),
        transient: false,
        source: Some(Box::new(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_matches_and_can_be_written_and_read() {
        let pair = KeyPair::generate().unwrap();
        assert!(pair.public.as_str().starts_with("ssh-ed25519 AAAA"));
        let read = PrivateKey::from_openssh(pair.private.expose().to_owned()).unwrap();
        assert_eq!(read.public_key().unwrap(), pair.public);
        assert_ne!(KeyPair::generate().unwrap().public, pair.public);
        assert!(pair.public.fingerprint().unwrap().starts_with("SHA256:"));
    }

    #[test]
    fn a_comment_does_not_change_a_key() {
        let pair = KeyPair::generate().unwrap();
        let commented: PublicKey = format!("{} me@here\n", pair.public).parse().unwrap();
        assert_eq!(commented, pair.public);
    }

    #[test]
    fn nothing_secret_is_printed() {
        let pair = KeyPair::generate().unwrap();
        assert_eq!(format!("{:?}", pair.private), "PrivateKey(…)");
        let error = PrivateKey::from_openssh("-----BEGIN secret".into()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("BEGIN secret"));
    }
}
