//! The name of the Secret with a sandbox's keys.

use std::fmt;

use sandbox_core::{SandboxId, Uid};

/// Separates the id from the nonce.
const INFIX: &str = "-keys-";
/// The ending of the names that earlier versions gave, without a nonce.
const FORMER_SUFFIX: &str = "-keys";
/// How the names begin that earlier versions gave to sandboxes with a generated id.
const FORMER_PREFIX: &str = "sbx-";
/// The length of a nonce.
const NONCE_LEN: usize = 20;

/// The name of the Secret with a sandbox's keys: `ID-keys-NONCE`.
///
/// Each creation has a nonce of its own, so no two instances of an id share a name. A kubelet that still has the
/// former, immutable Secret in its cache would otherwise start the new Pod with the keys of the old one.
/// <https://kubernetes.io/docs/concepts/configuration/secret/#secret-immutable>
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretName {
    id: SandboxId,
    text: String,
}

impl SecretName {
    /// Returns the name for the creation with this nonce.
    pub fn new(id: &SandboxId, nonce: &str) -> Self {
        Self {
            id: id.clone(),
            text: format!("{id}{INFIX}{nonce}"),
        }
    }

    /// Reads the name of an object; `None` if the SDK gives no such name. Names without a nonce, which earlier
    /// versions gave, are recognised too.
    pub fn parse(text: &str) -> Option<Self> {
        let id = match text.rsplit_once(INFIX) {
            Some((id, nonce)) if is_word(nonce) => id,
            _ => text.strip_suffix(FORMER_SUFFIX)?,
        };
        Some(Self {
            id: id.parse().ok()?,
            text: text.to_owned(),
        })
    }

    /// The id of the sandbox.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One Secret with keys, and not another one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SecretRef {
    /// Its name, which has the sandbox's id in it.
    pub name: SecretName,
    /// Its uid.
    pub uid: Uid,
}

/// Whether a Secret of this name holds the keys of some sandbox. A Secret of the user that is named by chance as in
/// earlier versions (`registry-keys`) does not count; one that looks like a generated id does.
pub fn is_key_secret_name(name: &str) -> bool {
    let has_nonce = name.rsplit_once(INFIX).is_some_and(|(id, nonce)| {
        id.parse::<SandboxId>().is_ok() && is_word(nonce) && nonce.len() == NONCE_LEN
    });
    has_nonce || (name.starts_with(FORMER_PREFIX) && name.ends_with(FORMER_SUFFIX))
}

fn is_word(nonce: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !nonce.is_empty() && nonce.bytes().all(is_allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::Uid;

    #[test]
    fn a_name_is_read_back() {
        for id in ["web", "sbx-k3v9q2xw7d", "a-keys-b", "web-keys"] {
            let id: SandboxId = id.parse().unwrap();
            let nonce = Uid::generate().unwrap();
            let name = SecretName::new(&id, nonce.as_str());
            assert_eq!(SecretName::parse(name.as_str()), Some(name.clone()));
            assert_eq!(name.id(), &id);
            assert!(is_key_secret_name(name.as_str()), "{name}");
        }
        let former = SecretName::parse("web-keys").unwrap();
        assert_eq!(former.id().as_str(), "web");
        for other in ["web", "-keys", "Web-keys", "web-keys-", "web-tls", ""] {
            assert_eq!(SecretName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_other_secrets_may_be_used() {
        for (name, expected) in [
            ("sbx-other-keys", true),
            ("web-keys-k3v9q2xw7dk3v9q2xw7d", true),
            ("registry-keys", false),
            ("web-keys-prod", false),
            ("web-keys-K3V9Q2XW7DK3V9Q2XW7D", false),
            ("sbx-other", false),
        ] {
            assert_eq!(is_key_secret_name(name), expected, "{name}");
        }
    }
}
