//! The Secret with a sandbox's keys.
//!
//! It is immutable, so that no kubelet watches it, and is created before the Pod, which it owns. The
//! Pod's server reads its keys from it. The client key stays in the memory of the process that created
//! the sandbox; only that of a detached sandbox is stored, for other processes to attach, and that of one that
//! waits in a shared pool, for its claimer.
//!
//! A claim replaces the client key. If the claimed sandbox is detached, the new one is stored in a second Secret,
//! which the Pod owns.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sandbox_core::{Error, PrivateKey, PublicKey, Result, SandboxId, Uid};

use crate::manifest::labels::{self, PoolRef, SecretName, SecretRef};
use crate::names;

/// Key in the Secret: the private host key of sandbox-sshd. Missing for an image sshd that has its own.
pub const HOST_KEY: &str = "host-key";
/// Key in the Secret: the public client key.
pub const AUTHORIZED_KEYS: &str = "authorized-keys";
/// Key in the Secret: the private client key, of detached sandboxes only.
pub const CLIENT_KEY: &str = "client-key";

/// Key in the Secret of a claim: the public host key of the sandbox.
pub const HOST_PUBLIC_KEY: &str = "host-public-key";
/// Key in the Secret: the pool that the sandbox was created for.
pub const POOL: &str = "pool";

/// The keys of one sandbox, for its Secret.
#[derive(Debug, Clone, Copy)]
pub struct SandboxKeys<'a> {
    /// The private host key; `None` for an image sshd.
    pub host: Option<&'a PrivateKey>,
    /// The public client key, which the server accepts.
    pub authorized: &'a PublicKey,
    /// The private client key of a detached sandbox, or of one that is created for a shared pool; `None` for an
    /// attached one.
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
        Self(build(id, namespace, nonce, &data, owner))
    }

    /// Notes the pool that the sandbox is created for.
    #[must_use]
    pub fn with_pool(mut self, pool: Option<&PoolRef>) -> Self {
        if let Some(pool) = pool {
            let data = self.0.data.get_or_insert_default();
            data.insert(POOL.to_owned(), ByteString(pool.text().into_bytes()));
        }
        self
    }

    /// Builds the manifest of the Secret with the new key of a detached sandbox that was claimed. The Pod owns it.
    pub fn for_claim(
        id: &SandboxId,
        namespace: &str,
        claim: &str,
        pod: &Uid,
        host: &PublicKey,
        client: &PrivateKey,
    ) -> Self {
        let data = [
            (HOST_PUBLIC_KEY, Some(host.as_str())),
            (CLIENT_KEY, Some(client.expose())),
        ];
        let owner = OwnerReference {
            api_version: "v1".into(),
            kind: "Pod".into(),
            name: id.as_str().to_owned(),
            uid: pod.as_str().to_owned(),
            ..OwnerReference::default()
        };
        Self(build(id, namespace, claim, &data, Some(owner)))
    }

    /// Returns the manifest to send. It must not be logged: it prints the keys that it holds.
    pub fn manifest(&self) -> &Secret {
        &self.0
    }
}

fn build(
    id: &SandboxId,
    namespace: &str,
    nonce: &str,
    data: &[(&str, Option<&str>)],
    owner: Option<OwnerReference>,
) -> Secret {
    let data = data
        .iter()
        .filter_map(|(key, text)| Some(((*key).to_owned(), ByteString((*text)?.into()))));
    let annotations = [(names::NONCE.to_owned(), nonce.to_owned())];
    Secret {
        metadata: ObjectMeta {
            name: Some(SecretName::new(id, nonce).as_str().to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels::object_labels(id, &BTreeMap::new())),
            annotations: Some(annotations.into()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        type_: Some("Opaque".into()),
        data: Some(data.collect()),
        string_data: None,
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
    /// The pool that the sandbox was created for.
    pub pool: Option<PoolRef>,
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
    let Some(client) = private_key(secret, name, CLIENT_KEY)? else {
        return Err(Error::unsupported_because(
            "access from another process",
            format!("the attached sandbox {}", name.id()),
            "only the process that created it has its key",
            "create it detached (without an attach timeout) to use it elsewhere",
        ));
    };
    let host = private_key(secret, name, HOST_KEY)?;
    let host = host.map(|host| host.public_key()).transpose()?;
    let pool = text_of(secret, name, POOL)?.and_then(|text| PoolRef::parse(&text));
    Ok(StoredKeys { host, client, pool })
}

/// Reads the keys of a detached sandbox that was claimed. The Secret counts only if this instance of the Pod owns it.
///
/// # Errors
///
/// [`Error::Backend`] for a Secret that does not belong to this sandbox or whose keys cannot be read. The error does
/// not quote them.
pub fn read_claim_keys(secret: &Secret, name: &SecretName, pod: &Uid) -> Result<StoredKeys> {
    match labels::verify_secret(&secret.metadata) {
        Ok(found) if found.name == *name => {}
        Ok(_) => return Err(unreadable(name, labels::NotManaged::Name)),
        Err(not_managed) => return Err(unreadable(name, not_managed)),
    }
    if labels::owning_pod(&secret.metadata).as_ref() != Some(pod) {
        return Err(unreadable(name, labels::NotManaged::Owner));
    }
    let missing = || unreadable(name, std::io::Error::other("a key is missing"));
    let client = private_key(secret, name, CLIENT_KEY)?.ok_or_else(missing)?;
    let host = text_of(secret, name, HOST_PUBLIC_KEY)?.ok_or_else(missing)?;
    let host = host.parse().map_err(|error| unreadable(name, error))?;
    Ok(StoredKeys {
        host: Some(host),
        client,
        pool: None,
    })
}

fn private_key(secret: &Secret, name: &SecretName, field: &str) -> Result<Option<PrivateKey>> {
    let key = text_of(secret, name, field)?.map(PrivateKey::from_openssh);
    key.transpose().map_err(|error| unreadable(name, error))
}

fn text_of(secret: &Secret, name: &SecretName, field: &str) -> Result<Option<String>> {
    let Some(ByteString(bytes)) = secret.data.as_ref().and_then(|data| data.get(field)) else {
        return Ok(None);
    };
    String::from_utf8(bytes.clone())
        .map(Some)
        .map_err(|error| unreadable(name, error.utf8_error()))
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
            uid: Uid::new("s1"),
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
    fn the_secret_of_a_pool_has_its_name_and_the_key() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pool = PoolRef::parse("ci/0123456789abcdef");
        let member = secret(&host, &client, true).with_pool(pool.as_ref());
        let read = read_keys(&stored(&member), &reference("sbx-a")).unwrap();
        assert_eq!(read.pool, pool);
        let plain = secret(&host, &client, true).with_pool(None);
        let read = read_keys(&stored(&plain), &reference("sbx-a")).unwrap();
        assert_eq!(read.pool, None);
    }

    #[test]
    fn the_key_of_a_claim_is_read_only_from_the_secret_of_this_pod() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pod = Uid::new("p1");
        let secret = KeySecret::for_claim(&id(), "ns", "c1", &pod, &host.public, &client.private);
        let text = serde_json::to_string(secret.manifest()).unwrap();
        assert!(!text.contains(HOST_KEY) && !text.contains(AUTHORIZED_KEYS));
        let good = stored(&secret);
        let name = SecretName::new(&id(), "c1");
        let read = read_claim_keys(&good, &name, &pod).unwrap();
        assert_eq!(read.host, Some(host.public));
        assert_eq!(read.client.public_key().unwrap(), client.public);

        assert!(read_claim_keys(&good, &name, &Uid::new("p2")).is_err());
        assert!(read_claim_keys(&good, &SecretName::new(&id(), "c2"), &pod).is_err());
        let mut owned_by_another = good.clone();
        owned_by_another.metadata.owner_references.as_mut().unwrap()[0].kind = "Secret".into();
        let mut ownerless = good.clone();
        ownerless.metadata.owner_references = None;
        let mut unlabelled = good.clone();
        unlabelled.metadata.labels = None;
        let mut empty = good.clone();
        empty.data = None;
        for broken in [owned_by_another, ownerless, unlabelled, empty] {
            assert!(read_claim_keys(&broken, &name, &pod).is_err());
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let shown = format!("{:?}", secret(&host, &client, true));
        assert_eq!(shown, "KeySecret { name: Some(\"sbx-a-keys-n1\"), .. }");
    }
}
