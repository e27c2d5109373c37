//! Keys: one pair for a sandbox's host and one for its user, made anew for every sandbox.

use std::fmt;
use std::str::FromStr;

use ssh_key::{LineEnding, private::Ed25519Keypair};
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, Result};

/// A private key in OpenSSH's text form ([PROTOCOL.key]), wiped from memory when dropped and
/// never printed.
///
/// [PROTOCOL.key]: https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.key
#[derive(Clone)]
pub struct PrivateKey(Zeroizing<String>);

/// A public key in OpenSSH's one-line form: `ssh-ed25519 AAAA…`, without comment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey(String);

/// Both halves.
#[derive(Clone)]
pub struct KeyPair {
    /// The half to keep.
    pub private: PrivateKey,
    /// The half to give away.
    pub public: PublicKey,
}

impl KeyPair {
    /// A new ed25519 pair ([RFC 8709](https://www.rfc-editor.org/rfc/rfc8709)).
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness to give.
    pub fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|source| key_error("no randomness for a key", source))?;
        let key = ssh_key::PrivateKey::from(Ed25519Keypair::from_seed(&seed));
        let public = key
            .public_key()
            .to_openssh()
            .map_err(|source| key_error("a new key cannot be encoded", source))?;
        let private = key
            .to_openssh(LineEnding::LF)
            .map_err(|source| key_error("a new key cannot be encoded", source))?;
        Ok(Self { private: PrivateKey(private), public: PublicKey(public) })
    }
}

impl PrivateKey {
    /// Takes a private key in OpenSSH's text form; the argument's memory is wiped.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it is none, or is protected by a passphrase. The text is not
    /// repeated in the error.
    pub fn from_openssh(mut text: String) -> Result<Self> {
        let parsed = ssh_key::PrivateKey::from_openssh(text.as_bytes());
        let kept = Zeroizing::new(text.clone());
        text.zeroize();
        match parsed {
            Ok(key) if key.is_encrypted() => Err(Error::invalid(
                "private key",
                "(not shown)",
                "it is protected by a passphrase; use one without",
            )),
            Ok(_) => Ok(Self(kept)),
            Err(_) => Err(Error::invalid(
                "private key",
                "(not shown)",
                "it is not an OpenSSH private key (BEGIN OPENSSH PRIVATE KEY)",
            )),
        }
    }

    /// The text, for the one who connects with it or stores it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The public half.
    ///
    /// # Errors
    ///
    /// None in practice: the key was parsed before.
    pub fn public_key(&self) -> Result<PublicKey> {
        ssh_key::PrivateKey::from_openssh(self.0.as_bytes())
            .and_then(|key| ssh_key::PublicKey::from(key.public_key().key_data().clone()).to_openssh())
            .map(PublicKey)
            .map_err(|source| key_error("a private key cannot be read back", source))
    }
}

/// Shows that there is a key, never the key.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PublicKey {
    /// The one-line form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key's SHA-256 fingerprint as `ssh-keygen -l` shows it.
    ///
    /// # Errors
    ///
    /// None in practice: the key was parsed before.
    pub fn fingerprint(&self) -> Result<String> {
        ssh_key::PublicKey::from_openssh(&self.0)
            .map(|key| key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
            .map_err(|source| key_error("a public key cannot be read back", source))
    }
}

/// Reads the one-line form; a comment is dropped, so that equal keys are equal.
impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(|_| {
            Error::invalid("public key", text.trim(), "use OpenSSH's one-line form: ssh-ed25519 AAAA…")
        })?;
        let bare = ssh_key::PublicKey::from(key.key_data().clone());
        bare.to_openssh().map(Self).map_err(|source| key_error("a public key cannot be encoded", source))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn key_error(message: &'static str, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Backend {
        backend: "system",
        operation: "make a key",
        message: message.into(),
        transient: false,
        source: Some(Box::new(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_fits_together_and_survives_text() {
        let pair = KeyPair::generate().unwrap();
        assert!(pair.public.as_str().starts_with("ssh-ed25519 AAAA"));
        let read = PrivateKey::from_openssh(pair.private.expose().to_owned()).unwrap();
        assert_eq!(read.public_key().unwrap(), pair.public);
        assert_ne!(KeyPair::generate().unwrap().public, pair.public);
        assert!(pair.public.fingerprint().unwrap().starts_with("SHA256:"));
    }

    #[test]
    fn a_comment_makes_no_other_key() {
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
