//! The manifest of an owner Lease, how one is read back, and its timing.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use sandbox_core::{Error, Result, SandboxId, Uid};

use crate::manifest::labels;
use crate::names;

/// The shortest duration of a Lease. A renewal may take a while.
pub(super) const MIN_DURATION: Duration = Duration::from_secs(15);

/// Timeout of one renewal.
pub(super) const RENEWAL_TIMEOUT: Duration = Duration::from_secs(8);
/// The pause after a renewal that failed.
pub(super) const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Returns the time between two renewals.
pub(super) fn renewal_period(duration: Duration) -> Duration {
    duration / 3
}

/// Returns the time within which a holder that is alive has renewed its Lease, even after an outage of the
/// API server, a corrected clock, or a suspended computer.
pub(super) fn takeover_delay(duration: Duration) -> Duration {
    renewal_period(duration) + RENEWAL_TIMEOUT + RETRY_PAUSE
}

/// Builds the manifest of a new Lease, which has an id like a sandbox and a name derived from that.
pub(super) fn build(
    id: &SandboxId,
    namespace: &str,
    nonce: &str,
    duration: Duration,
    now: SystemTime,
) -> Result<Lease> {
    Ok(Lease {
        metadata: ObjectMeta {
            name: Some(labels::lease_name(id)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels::object_labels(id, &Default::default())),
            annotations: Some([(names::NONCE.to_owned(), nonce.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(id.as_str().to_owned()),
            lease_duration_seconds: Some(duration_seconds(duration)),
            acquire_time: Some(to_micro_time(now)?),
            renew_time: Some(to_micro_time(now)?),
            ..LeaseSpec::default()
        }),
    })
}

fn duration_seconds(duration: Duration) -> i32 {
    i32::try_from(labels::whole_seconds(duration.max(MIN_DURATION))).unwrap_or(i32::MAX)
}

/// Returns the owner reference by which Kubernetes deletes a Secret together with the Lease. `controller`
/// and `blockOwnerDeletion` are unset, as for a Pod.
pub(super) fn owner_reference(id: &SandboxId, lease: &Uid) -> OwnerReference {
    OwnerReference {
        api_version: "coordination.k8s.io/v1".into(),
        kind: "Lease".into(),
        name: labels::lease_name(id),
        uid: lease.as_str().into(),
        ..OwnerReference::default()
    }
}

/// Converts a time of the API server to a field of a Lease.
pub(super) fn to_micro_time(now: SystemTime) -> Result<MicroTime> {
    let time = Timestamp::try_from(now);
    time.map(MicroTime).map_err(|_| {
        Error::invalid(
            "time of the API server",
            format!("{now:?}"),
            "the date is out of range",
        )
    })
}

/// What a Lease says about its holder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeaseHolder {
    pub(super) id: SandboxId,
    pub(super) uid: Uid,
    pub(super) duration: Duration,
    pub(super) expires_at: SystemTime,
}

impl LeaseHolder {
    /// Reads a Lease; `None` if the SDK did not create it, or if a field is missing or invalid.
    pub(super) fn from_lease(lease: &Lease) -> Option<Self> {
        let (id, uid) = labels::verify_lease(lease).ok()?;
        let spec = lease.spec.as_ref()?;
        if spec.holder_identity.as_deref() != Some(id.as_str()) {
            return None;
        }
        let duration = u64::try_from(spec.lease_duration_seconds?)
            .ok()
            .filter(|seconds| *seconds > 0)?;
        let duration = Duration::from_secs(duration);
        let expires_at = SystemTime::from(spec.renew_time.as_ref()?.0).checked_add(duration)?;
        Some(Self {
            id,
            uid,
            duration,
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn lease() -> Value {
        let id = "sbx-a".parse().unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        let manifest = build(&id, "ns", "n", Duration::from_secs(60), now).unwrap();
        let mut stored = serde_json::to_value(manifest).unwrap();
        stored["metadata"]["uid"] = json!("l1");
        stored
    }

    #[test]
    fn a_new_lease_can_be_read_back() {
        let LeaseHolder {
            id,
            uid,
            duration,
            expires_at,
        } = LeaseHolder::from_lease(&serde_json::from_value(lease()).unwrap()).unwrap();
        assert_eq!(
            (id.as_str(), uid.as_str(), duration),
            ("sbx-a", "l1", Duration::from_secs(60))
        );
        assert_eq!(
            expires_at,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_060)
        );
        assert_eq!(lease()["metadata"]["name"], "sbx-a-owner");
        let owner = serde_json::to_value(owner_reference(&id, &uid)).unwrap();
        let expected = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "sbx-a-owner", "uid": "l1"});
        assert_eq!(owner, expected, "blockOwnerDeletion is unset");
    }

    #[test]
    fn a_forged_lease_is_rejected() {
        for (path, value) in [
            ("/metadata/name", json!("kube-scheduler")),
            ("/metadata/name", json!("sbx-b-owner")),
            ("/metadata/name", json!("sbx-a-keys")),
            ("/metadata/labels/sandbox.dev~1managed-by", json!("helm")),
            ("/metadata/labels/sandbox.dev~1id", json!("sbx-b")),
            ("/metadata/uid", json!("")),
            ("/spec/holderIdentity", json!("someone")),
            ("/spec/leaseDurationSeconds", json!(0)),
            ("/spec/leaseDurationSeconds", json!(-60)),
            ("/spec/leaseDurationSeconds", Value::Null),
            ("/spec/renewTime", Value::Null),
            ("/spec", Value::Null),
        ] {
            let mut forged = lease();
            *forged.pointer_mut(path).unwrap() = value.clone();
            assert_eq!(
                LeaseHolder::from_lease(&serde_json::from_value(forged).unwrap()),
                None,
                "{path} = {value}"
            );
        }
        let mut owned = lease();
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]);
        assert_eq!(
            LeaseHolder::from_lease(&serde_json::from_value(owned).unwrap()),
            None,
            "a node's own"
        );
    }

    #[test]
    fn a_lease_is_never_shorter_than_a_renewal() {
        let id = "sbx-a".parse().unwrap();
        let manifest = build(&id, "ns", "n", Duration::ZERO, SystemTime::now()).unwrap();
        assert_eq!(manifest.spec.unwrap().lease_duration_seconds, Some(15));
        assert_eq!(
            duration_seconds(Duration::from_secs(u64::from(u32::MAX))),
            i32::MAX
        );
    }
}
