//! The Secret with a sandbox's keys.
//!
//! It is immutable, so that no kubelet watches it, and is created before the Pod, which it owns. The
//! Pod's server reads its keys from it. The client key stays in the memory of the process that created
//! the sandbox; only that of a detached sandbox is stored, for other processes to attach.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sandbox_core::{Error, PrivateKey, PublicKey, Result, SandboxId};

use crate::manifest::labels::{self, SecretName, SecretRef};
use crate::names;

/// Key in the Secret: the private host key of sandbox-sshd. Missing for an image sshd that has its own.
pub const HOST_KEY: &str = "host-key";
/// Key in the Secret: the public client key.
pub const AUTHORIZED_KEYS: &str = "authorized-keys";
/// Key in the Secret: the private client key, of detached sandboxes only.
pub const CLIENT_KEY: &str = "client-key";

/// The keys of one sandbox, for its Secret.
#[derive(Debug, Clone, Copy)]
pub struct SandboxKeys<'a> {
    /// The private host key; `None` for an image sshd.
    pub host: Option<&'a PrivateKey>,
    /// The public client key, which the server accepts.
    pub authorized: &'a PublicKey,
    /// The private client key of a detached sandbox; `None` for an attached one.
    pub client: Option<&'a PrivateKey>,
}

/// The manifest of a Secret with keys. `Debug` does not print them.
#[derive(Clone, PartialEq)]
pub struct KeySecret(Secret);

impl KeySecret {
    /// Builds the manifest. `owner` is the Lease of a long-lived process; when it is deleted, so is the
    /// Secret, and with it the Pod.
    pub fn new(
        id: &SandboxId,
        namespace: &str,
        nonce: &str,
        keys: SandboxKeys<'_>,
        owner: Option<OwnerReference>,
    ) -> Self {
        let data = [
            (HOST_KEY, keys.host.map(PrivateKey::expose)),
            (AUTHORIZED_KEYS, Some(keys.authorized.as_str())),
            (CLIENT_KEY, keys.client.map(PrivateKey::expose)),
        ];
        let data = data.into_iter().filter_map(|(key, text)| {
            Some((key.to_owned(), ByteString(text?.as_bytes().to_vec())))
        });
        Self(Secret {
            metadata: ObjectMeta {
                name: Some(SecretName::new(id, nonce).as_str().to_owned()),
                namespace: Some(namespace.to_owned()),
                labels: Some(labels::object_labels(id, &BTreeMap::new())),
                annotations: Some(BTreeMap::from([(
                    names::NONCE.to_owned(),
                    nonce.to_owned(),
                )])),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            type_: Some("Opaque".into()),
            data: Some(data.collect()),
            string_data: None,
        })
    }

    /// Returns the manifest to send. It must not be logged: it prints the keys that it holds.
    pub fn manifest(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySecret")
            .field("name", &self.0.metadata.name)
            .finish_non_exhaustive()
    }
}

/// The keys with which another process attaches to a sandbox.
#[derive(Debug, Clone)]
pub struct StoredKeys {
    /// The host key to pin; `None` for an image sshd with its own.
    pub host: Option<PublicKey>,
    /// The client key.
    pub client: PrivateKey,
}

/// Reads the stored keys of a detached sandbox.
///
/// # Errors
///
/// [`Error::Unsupported`] for an attached one, whose client key only the creating process has, and
/// [`Error::Backend`] for a Secret that does not belong to this sandbox or whose keys cannot be read. The
/// error does not quote them.
pub fn read_keys(secret: &Secret, expected: &SecretRef) -> Result<StoredKeys> {
    let name = &expected.name;
    match labels::verify_secret(&secret.metadata) {
        Ok(found) if found == *expected => {}
        Ok(_) => return Err(unreadable(name, labels::NotManaged::Owner)),
        Err(not_managed) => return Err(unreadable(name, not_managed)),
    }
    let key = |field| -> Result<Option<PrivateKey>> {
        let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(field)) else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes.clone())
            .map_err(|error| unreadable(name, error.utf8_error()))?;
        PrivateKey::from_openssh(text)
            .map(Some)
            .map_err(|error| unreadable(name, error))
    };
    let Some(client) = key(CLIENT_KEY)? else {
        return Err(Error::unsupported_because(
            "access from another process",
            format!("the attached sandbox {}", name.id()),
            "only the process that created it has its key",
            "create it detached (without an attach timeout) to use it elsewhere",
        ));
    };
    let host = key(HOST_KEY)?.map(|host| host.public_key()).transpose()?;
    Ok(StoredKeys { host, client })
}

fn unreadable(name: &SecretName, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Backend {
        backend: names::BACKEND,
        operation: "read the keys of a sandbox",
        message: format!("the Secret {name} does not hold the keys of this sandbox"),
        transient: false,
        source: Some(Box::new(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::KeyPair;

    fn id() -> SandboxId {
        "sbx-a".parse().unwrap()
    }

    fn reference(id: &str) -> SecretRef {
        SecretRef {
            name: SecretName::new(&id.parse().unwrap(), "n1"),
            uid: sandbox_core::Uid::new("s1"),
        }
    }

    /// The Secret as the API server would return it.
    fn stored(secret: &KeySecret) -> Secret {
        let mut secret = secret.manifest().clone();
        secret.metadata.uid = Some("s1".into());
        secret
    }

    fn secret(host: &KeyPair, client: &KeyPair, detached: bool) -> KeySecret {
        let keys = SandboxKeys {
            host: Some(&host.private),
            authorized: &client.public,
            client: detached.then_some(&client.private),
        };
        KeySecret::new(&id(), "ns", "n1", keys, None)
    }

    #[test]
    fn a_detached_sandbox_is_attached_with_the_stored_keys() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let read = read_keys(&stored(&secret(&host, &client, true)), &reference("sbx-a")).unwrap();
        assert_eq!(read.host, Some(host.public));
        assert_eq!(read.client.public_key().unwrap(), client.public);
    }

    #[test]
    fn the_key_of_an_attached_sandbox_is_not_stored() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let secret = secret(&host, &client, false);
        let text = serde_json::to_string(secret.manifest()).unwrap();
        assert!(!text.contains(CLIENT_KEY));
        let error = read_keys(&stored(&secret), &reference("sbx-a")).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }

    #[test]
    fn an_unmanaged_or_broken_secret_is_named_but_not_quoted() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let good = stored(&secret(&host, &client, true));
        assert!(read_keys(&good, &reference("sbx-b")).is_err());
        let mut unlabelled = good.clone();
        unlabelled.metadata.labels = None;
        assert!(read_keys(&unlabelled, &reference("sbx-a")).is_err());
        for bytes in [b"-----BEGIN hush".to_vec(), vec![0xff, 0xfe]] {
            let mut broken = good.clone();
            broken
                .data
                .as_mut()
                .unwrap()
                .insert(CLIENT_KEY.into(), ByteString(bytes));
            let error = read_keys(&broken, &reference("sbx-a")).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let shown = format!("{:?}", secret(&host, &client, true));
        assert_eq!(shown, "KeySecret { name: Some(\"sbx-a-keys-n1\"), .. }");
    }
}
