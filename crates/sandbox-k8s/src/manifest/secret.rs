//! The Secret with a sandbox's keys.
//!
//! It is immutable, so that no kubelet watches it, and stored before the Pod, which it owns. The
//! Pod's server takes its keys from it. The key that lets in stays with whoever made the
//! sandbox, in memory; only a detached one's is stored, for it is to be taken up by others.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sandbox_core::{Error, PrivateKey, PublicKey, Result, SandboxId};

use crate::manifest::labels;
use crate::names;

/// Key in the Secret: the private host key, for the server in the Pod. Missing where an image's
/// own server has one.
pub const HOST_KEY: &str = "host-key";
/// Key in the Secret: the public key of whom to let in.
pub const AUTHORIZED_KEYS: &str = "authorized-keys";
/// Key in the Secret: the private key that lets in; of detached sandboxes only.
pub const CLIENT_KEY: &str = "client-key";

/// The keys of one sandbox, for its Secret.
#[derive(Debug, Clone, Copy)]
pub struct SandboxKeys<'a> {
    /// The server's; `None` for an image's own server.
    pub host: Option<&'a PrivateKey>,
    /// Whom to let in.
    pub authorized: &'a PublicKey,
    /// What lets in, for a detached sandbox; `None` for an attached one.
    pub client: Option<&'a PrivateKey>,
}

/// A Secret's manifest. It does not print what it holds.
#[derive(Clone, PartialEq)]
pub struct KeySecret(Secret);

impl KeySecret {
    /// Builds the manifest. `owner` is the Lease of a long-lived process, with which the Secret,
    /// and with it the Pod, goes.
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
                name: Some(labels::secret_name(id)),
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

    /// What to send. Not to be logged: it holds the keys, and prints them.
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

/// What a sandbox can be taken up again with.
#[derive(Debug, Clone)]
pub struct StoredKeys {
    /// To be pinned; `None` where an image's own server has its own.
    pub host: Option<PublicKey>,
    /// What lets in.
    pub client: PrivateKey,
}

/// Reads the keys of a detached sandbox back.
///
/// # Errors
///
/// [`Error::Unsupported`] for an attached one, whose key only its maker has, and
/// [`Error::Backend`] for a Secret that is not this sandbox's or whose keys cannot be read; what
/// they say is not repeated.
pub fn read_keys(secret: &Secret, id: &SandboxId) -> Result<StoredKeys> {
    match labels::verify_secret(secret) {
        Ok((found, _)) if found == *id => {}
        Ok(_) => return Err(unreadable(id, labels::NotManaged::Id)),
        Err(not_ours) => return Err(unreadable(id, not_ours)),
    }
    let key = |name| -> Result<Option<PrivateKey>> {
        let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(name)) else {
            return Ok(None);
        };
        let text =
            String::from_utf8(bytes.clone()).map_err(|error| unreadable(id, error.utf8_error()))?;
        PrivateKey::from_openssh(text)
            .map(Some)
            .map_err(|error| unreadable(id, error))
    };
    let Some(client) = key(CLIENT_KEY)? else {
        return Err(Error::unsupported_because(
            "access from another process",
            format!("the attached sandbox {id}"),
            "only the process that created it has its key",
            "create it detached (without an attach timeout) to use it elsewhere",
        ));
    };
    let host = key(HOST_KEY)?.map(|host| host.public_key()).transpose()?;
    Ok(StoredKeys { host, client })
}

fn unreadable(id: &SandboxId, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Backend {
        backend: "k8s",
        operation: "read the keys of a sandbox",
        message: format!(
            "the Secret {} does not hold what it should",
            labels::secret_name(id)
        ),
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

    /// As the API server would return it.
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
    fn a_detached_sandbox_is_taken_up_with_what_was_stored() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let read = read_keys(&stored(&secret(&host, &client, true)), &id()).unwrap();
        assert_eq!(read.host, Some(host.public));
        assert_eq!(read.client.public_key().unwrap(), client.public);
    }

    #[test]
    fn an_attached_sandbox_leaves_its_key_nowhere() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let secret = secret(&host, &client, false);
        let text = serde_json::to_string(secret.manifest()).unwrap();
        assert!(!text.contains(CLIENT_KEY));
        let error = read_keys(&stored(&secret), &id()).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }

    #[test]
    fn what_is_not_ours_or_broken_is_named_and_not_shown() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let good = stored(&secret(&host, &client, true));
        assert!(read_keys(&good, &"sbx-b".parse().unwrap()).is_err());
        let mut unlabelled = good.clone();
        unlabelled.metadata.labels = None;
        assert!(read_keys(&unlabelled, &id()).is_err());
        for bytes in [b"-----BEGIN hush".to_vec(), vec![0xff, 0xfe]] {
            let mut broken = good.clone();
            broken
                .data
                .as_mut()
                .unwrap()
                .insert(CLIENT_KEY.into(), ByteString(bytes));
            let error = read_keys(&broken, &id()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let shown = format!("{:?}", secret(&host, &client, true));
        assert_eq!(shown, "KeySecret { name: Some(\"sbx-a-keys\"), .. }");
    }
}
