//! Checks that an object is what its label claims.

use std::fmt;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use sandbox_core::{SandboxId, Uid};

use super::metadata::annotation;
use super::secret_name::{SecretName, SecretRef};
use crate::names::{ID, MANAGED_BY, MANAGER, OWNER_UID};

/// The names and uids of a managed Pod, which agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The sandbox's id, from the name and the label.
    pub id: SandboxId,
    /// The Pod's own uid.
    pub uid: Uid,
    /// The Secret that owns it.
    pub owner: SecretRef,
}

/// Why an object with the SDK's label is not managed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotManaged {
    /// It does not have the SDK's label.
    Label,
    /// Its name is no sandbox id, or not one derived from an id.
    Name,
    /// Its label names another sandbox than its name.
    Id,
    /// It has no uid, so it was never stored.
    Uid,
    /// Its only owner is not the Secret of its sandbox, or its annotation and its owner reference differ.
    Owner,
}

impl fmt::Display for NotManaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => "it does not carry the label sandbox.dev/managed-by of the SDK",
            Self::Name => "its name is not one that the SDK gives",
            Self::Id => "its label sandbox.dev/id does not match its name",
            Self::Uid => "it has no uid",
            Self::Owner => "its owner is not the Secret with its keys",
        })
    }
}

impl std::error::Error for NotManaged {}

impl Ownership {
    /// Checks a Pod.
    ///
    /// # Errors
    ///
    /// The first check that fails.
    pub fn from_pod(pod: &Pod) -> Result<Self, NotManaged> {
        let meta = &pod.metadata;
        let id = verified_id(meta, |name| name.parse().ok())?;
        let uid = verified_uid(meta)?;
        let annotated = annotation(meta, OWNER_UID).ok_or(NotManaged::Owner)?;
        let [owner] = meta.owner_references.as_deref().unwrap_or_default() else {
            return Err(NotManaged::Owner);
        };
        let is_secret = owner.kind == "Secret" && owner.api_version == "v1";
        if !is_secret || owner.uid.is_empty() || owner.uid != annotated {
            return Err(NotManaged::Owner);
        }
        let name = SecretName::parse(&owner.name)
            .filter(|name| *name.id() == id)
            .ok_or(NotManaged::Owner)?;
        let owner = SecretRef {
            name,
            uid: Uid::new(annotated),
        };
        Ok(Self { id, uid, owner })
    }
}

/// Verifies a Secret by its metadata.
///
/// # Errors
///
/// The first check that fails.
pub fn verify_secret(meta: &ObjectMeta) -> Result<SecretRef, NotManaged> {
    let name = meta.name.as_deref().and_then(SecretName::parse);
    verified_id(meta, |_| name.as_ref().map(|name| name.id().clone()))?;
    Ok(SecretRef {
        name: name.ok_or(NotManaged::Name)?,
        uid: verified_uid(meta)?,
    })
}

/// Verifies a Lease, and returns its id and its uid. A managed Lease has no owner.
///
/// # Errors
///
/// The first check that fails.
pub fn verify_lease(lease: &Lease) -> Result<(SandboxId, Uid), NotManaged> {
    let id = verified_id(&lease.metadata, |name| {
        name.strip_suffix("-owner")?.parse().ok()
    })?;
    if lease
        .metadata
        .owner_references
        .as_ref()
        .is_some_and(|owners| !owners.is_empty())
    {
        return Err(NotManaged::Owner);
    }
    Ok((id, verified_uid(&lease.metadata)?))
}

/// Returns the Pod that owns a Secret: only a Secret with the new key of a claimed sandbox has one.
pub fn owning_pod(meta: &ObjectMeta) -> Option<Uid> {
    match meta.owner_references.as_deref() {
        Some([owner]) if owner.kind == "Pod" && owner.api_version == "v1" => {
            (!owner.uid.is_empty()).then(|| Uid::new(&*owner.uid))
        }
        _ => None,
    }
}

/// Returns the owner reference that deletes a Pod together with its Secret. `controller` and
/// `blockOwnerDeletion` stay unset, because no controller manages the Pod and no deletion waits for it.
pub fn owner_reference(secret: &SecretRef) -> OwnerReference {
    OwnerReference {
        api_version: "v1".into(),
        kind: "Secret".into(),
        name: secret.name.as_str().to_owned(),
        uid: secret.uid.as_str().to_owned(),
        ..OwnerReference::default()
    }
}

fn verified_id(
    meta: &ObjectMeta,
    parse: impl Fn(&str) -> Option<SandboxId>,
) -> Result<SandboxId, NotManaged> {
    let label = |key| {
        meta.labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map(String::as_str)
    };
    if label(MANAGED_BY) != Some(MANAGER) {
        return Err(NotManaged::Label);
    }
    let id = meta
        .name
        .as_deref()
        .and_then(parse)
        .ok_or(NotManaged::Name)?;
    if label(ID) == Some(id.as_str()) {
        Ok(id)
    } else {
        Err(NotManaged::Id)
    }
}

fn verified_uid(meta: &ObjectMeta) -> Result<Uid, NotManaged> {
    meta.uid
        .as_deref()
        .filter(|uid| !uid.is_empty())
        .map(Uid::new)
        .ok_or(NotManaged::Uid)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::manifest::labels::user_labels;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;

    pub(in crate::manifest::labels) fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {
                "name": "sbx-a", "uid": "p1",
                "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": "sbx-a", "team": "ml"},
                "annotations": {"sandbox.dev/owner-uid": "s1", "sandbox.dev/ends-after": "60"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "sbx-a-keys-n1", "uid": "s1"}],
            },
            "spec": {"containers": [], "activeDeadlineSeconds": 3600},
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn a_managed_pod_is_recognised() {
        let found = Ownership::from_pod(&pod(|_| {})).unwrap();
        assert_eq!(
            (
                found.id.as_str(),
                found.uid.as_str(),
                found.owner.uid.as_str()
            ),
            ("sbx-a", "p1", "s1")
        );
        assert_eq!(
            user_labels(&pod(|_| {}).metadata),
            BTreeMap::from([("team".into(), "ml".into())])
        );
    }

    #[test]
    fn a_forged_pod_is_detected() {
        let table: [(NotManaged, &str, Value); 13] = [
            (
                NotManaged::Label,
                "/metadata/labels/sandbox.dev~1managed-by",
                json!("helm"),
            ),
            (NotManaged::Label, "/metadata/labels", json!({})),
            (NotManaged::Name, "/metadata/name", json!("Not_an_id")),
            (NotManaged::Id, "/metadata/name", json!("sbx-b")),
            (
                NotManaged::Id,
                "/metadata/labels/sandbox.dev~1id",
                json!("sbx-b"),
            ),
            (NotManaged::Uid, "/metadata/uid", json!("")),
            (NotManaged::Owner, "/metadata/annotations", json!({})),
            (
                NotManaged::Owner,
                "/metadata/annotations/sandbox.dev~1owner-uid",
                json!("s2"),
            ),
            (NotManaged::Owner, "/metadata/ownerReferences", json!([])),
            (
                NotManaged::Owner,
                "/metadata/ownerReferences/0/uid",
                json!("s2"),
            ),
            (
                NotManaged::Owner,
                "/metadata/ownerReferences/0/kind",
                json!("ReplicaSet"),
            ),
            (
                NotManaged::Owner,
                "/metadata/ownerReferences/0/name",
                json!("sbx-b-keys-n1"),
            ),
            (
                NotManaged::Owner,
                "/metadata/ownerReferences/0/apiVersion",
                json!("v2"),
            ),
        ];
        for (expected, path, value) in table {
            let forged = pod(|pod| *pod.pointer_mut(path).unwrap() = value.clone());
            assert_eq!(
                Ownership::from_pod(&forged),
                Err(expected),
                "{path} = {value}"
            );
        }
        let two_owners = pod(|pod| {
            let owners = pod.pointer_mut("/metadata/ownerReferences").unwrap();
            let first = owners[0].clone();
            owners.as_array_mut().unwrap().push(first);
        });
        assert_eq!(Ownership::from_pod(&two_owners), Err(NotManaged::Owner));
    }

    #[test]
    fn a_secret_is_its_owner_by_name_and_uid() {
        let found = Ownership::from_pod(&pod(|_| {})).unwrap();
        let verified = |name: &str, id: &str, uid: &str| {
            let labels = json!({MANAGED_BY: MANAGER, ID: id});
            let meta = json!({"name": name, "uid": uid, "labels": labels});
            verify_secret(&serde_json::from_value(meta).unwrap())
        };
        assert_eq!(
            verified("sbx-a-keys-n1", "sbx-a", "s1"),
            Ok(found.owner.clone())
        );
        for (name, id, uid) in [
            ("sbx-a-keys-n1", "sbx-a", "s2"),
            ("sbx-a-keys-n2", "sbx-a", "s1"),
            ("sbx-a-keys", "sbx-a", "s1"),
            ("sbx-b-keys-n1", "sbx-b", "s1"),
        ] {
            let other = verified(name, id, uid).unwrap();
            assert_ne!(other, found.owner, "{name} {id} {uid}");
        }
        for (name, id) in [
            ("sbx-a", "sbx-a"),
            ("sbx-a-keys-n1", "sbx-b"),
            ("-keys-n1", ""),
            ("sbx-a-tls", "sbx-a"),
        ] {
            assert!(verified(name, id, "s1").is_err(), "{name} {id}");
        }
    }
}
