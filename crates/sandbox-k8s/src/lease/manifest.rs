//! The manifest of a Lease, and what one says.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use sandbox_core::{Error, Result, SandboxId, Uid};

use crate::manifest::labels;
use crate::names;

/// Leases are not held for less: a renewal may take a while.
pub(super) const SHORTEST: Duration = Duration::from_secs(15);

/// How long a renewal may take, and how long it is waited after one that failed.
pub(super) const RENEW: Duration = Duration::from_secs(8);
pub(super) const PAUSE: Duration = Duration::from_secs(2);

/// Between two renewals.
pub(super) fn period(lasts: Duration) -> Duration {
    lasts / 3
}

/// A holder that lives has renewed it within this time, whatever it met: an API server that was
/// away, a clock that was put right, a machine that slept.
pub(super) fn wait_limit(lasts: Duration) -> Duration {
    period(lasts) + RENEW + PAUSE
}

/// The manifest of a new Lease. It has an id as a sandbox has, and a name made from it.
pub(super) fn manifest(
    id: &SandboxId,
    namespace: &str,
    nonce: &str,
    lasts: Duration,
    now: SystemTime,
) -> Result<Lease> {
    Ok(Lease {
        metadata: ObjectMeta {
            name: Some(labels::lease_name(id)),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels::labels(id, &Default::default())),
            annotations: Some([(names::NONCE.to_owned(), nonce.to_owned())].into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(id.as_str().to_owned()),
            lease_duration_seconds: Some(seconds(lasts)),
            acquire_time: Some(renewed(now)?),
            renew_time: Some(renewed(now)?),
            ..LeaseSpec::default()
        }),
    })
}

fn seconds(lasts: Duration) -> i32 {
    i32::try_from(labels::whole_seconds(lasts.max(SHORTEST))).unwrap_or(i32::MAX)
}

/// What makes a Secret go with its maker's Lease. `controller` and `blockOwnerDeletion` stay
/// unset, as for a Pod.
pub(super) fn owned_by(id: &SandboxId, lease: &Uid) -> OwnerReference {
    OwnerReference {
        api_version: "coordination.k8s.io/v1".into(),
        kind: "Lease".into(),
        name: labels::lease_name(id),
        uid: lease.as_str().into(),
        ..OwnerReference::default()
    }
}

pub(super) fn renewed(now: SystemTime) -> Result<MicroTime> {
    let time = Timestamp::try_from(now);
    time.map(MicroTime).map_err(|_| {
        Error::invalid(
            "time of the API server",
            format!("{now:?}"),
            "it is no date",
        )
    })
}

/// What a Lease says of its holder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) id: SandboxId,
    pub(super) uid: Uid,
    pub(super) lasts: Duration,
    pub(super) until: SystemTime,
}

impl Holding {
    /// `None` for a Lease that is not ours, or that does not say.
    pub(super) fn of(lease: &Lease) -> Option<Self> {
        let (id, uid) = labels::lease_of(lease).ok()?;
        let spec = lease.spec.as_ref()?;
        if spec.holder_identity.as_deref() != Some(id.as_str()) {
            return None;
        }
        let lasts = u64::try_from(spec.lease_duration_seconds?)
            .ok()
            .filter(|seconds| *seconds > 0)?;
        let lasts = Duration::from_secs(lasts);
        let until = SystemTime::from(spec.renew_time.as_ref()?.0).checked_add(lasts)?;
        Some(Self {
            id,
            uid,
            lasts,
            until,
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
        let made = manifest(&id, "ns", "n", Duration::from_secs(60), now).unwrap();
        let mut stored = serde_json::to_value(made).unwrap();
        stored["metadata"]["uid"] = json!("l1");
        stored
    }

    #[test]
    fn what_we_make_is_known_again() {
        let Holding {
            id,
            uid,
            lasts,
            until,
        } = Holding::of(&serde_json::from_value(lease()).unwrap()).unwrap();
        assert_eq!(
            (id.as_str(), uid.as_str(), lasts),
            ("sbx-a", "l1", Duration::from_secs(60))
        );
        assert_eq!(
            until,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_060)
        );
        assert_eq!(lease()["metadata"]["name"], "sbx-a-owner");
        let owner = serde_json::to_value(owned_by(&id, &uid)).unwrap();
        let expected = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": "sbx-a-owner", "uid": "l1"});
        assert_eq!(owner, expected, "and nothing blocks");
    }

    #[test]
    fn a_forged_lease_is_told() {
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
                Holding::of(&serde_json::from_value(forged).unwrap()),
                None,
                "{path} = {value}"
            );
        }
        let mut owned = lease();
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}]);
        assert_eq!(
            Holding::of(&serde_json::from_value(owned).unwrap()),
            None,
            "a node's own"
        );
    }

    #[test]
    fn no_lease_is_shorter_than_a_renewal_may_take() {
        let id = "sbx-a".parse().unwrap();
        let made = manifest(&id, "ns", "n", Duration::ZERO, SystemTime::now()).unwrap();
        assert_eq!(made.spec.unwrap().lease_duration_seconds, Some(15));
        assert_eq!(seconds(Duration::from_secs(u64::from(u32::MAX))), i32::MAX);
    }
}
