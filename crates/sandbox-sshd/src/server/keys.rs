//! The public keys whose owners may log in.

use russh::keys::PublicKey;
use russh::keys::ssh_key::public::KeyData;

use crate::error::ServerError;

/// The authorized keys of a server.
pub(crate) struct AuthorizedKeys(Vec<KeyData>);

impl AuthorizedKeys {
    /// Parses one OpenSSH public key per line. A line with options is refused, because options
    /// restrict what a key may do and this server would not enforce them.
    ///
    /// # Errors
    ///
    /// If a line is no public key, or if there is no line.
    pub(crate) fn parse(lines: &[String]) -> Result<Self, ServerError> {
        let mut keys = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            let key = PublicKey::from_openssh(line.trim()).map_err(|error| {
                ServerError::AuthorizedKey {
                    number: index + 1,
                    source: error.into(),
                }
            })?;
            keys.push(key.key_data().clone());
        }
        if keys.is_empty() {
            Err(ServerError::NoAuthorizedKey)
        } else {
            Ok(Self(keys))
        }
    }

    pub(crate) fn from_key(key: &PublicKey) -> Self {
        Self(vec![key.key_data().clone()])
    }

    pub(crate) fn contains(&self, key: &PublicKey) -> bool {
        self.0.contains(key.key_data())
    }
}
