//! The patches that change the state of a sandbox in its pool. Each applies only to the expected instance in the
//! expected state. None requires a version: the kubelet's reports would change it all the time.

use std::collections::BTreeMap;

use sandbox_core::{OnExpiry, PoolMemberState, Uid};

use super::ends::ClaimedEnds;
use crate::api::json_patch::{JsonPatch, annotation, label};
use crate::manifest::labels::stored_annotations;
use crate::names::{CLAIM, ENDS_AFTER, ON_EXPIRY, POOL_STATE, SAFE_TO_EVICT};

/// Makes a sandbox claimable.
pub(crate) fn offer(uid: &Uid) -> JsonPatch {
    change_state(uid, PoolMemberState::Filling, PoolMemberState::Waiting)
}

/// Takes a sandbox out of the pool, unless it was claimed.
pub(crate) fn withdraw(uid: &Uid, from: PoolMemberState) -> JsonPatch {
    change_state(uid, from, PoolMemberState::Draining)
}

/// Takes a sandbox that waits. `claim` is the word by which the claimer recognises its own claim.
pub(crate) fn claim(
    uid: &Uid,
    claim: &str,
    ends: &ClaimedEnds,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    on_expiry: OnExpiry,
) -> JsonPatch {
    let mut patch = change_state(uid, PoolMemberState::Waiting, PoolMemberState::Taken)
        .add(&annotation(CLAIM), claim)
        .add(&annotation(SAFE_TO_EVICT), "false");
    if let Some(ends_after) = &ends.ends_after {
        patch = patch.add(&annotation(ENDS_AFTER), ends_after.as_str());
    }
    if let Some(seconds) = ends.active_deadline {
        patch = patch.replace("/spec/activeDeadlineSeconds", seconds);
    }
    let patch = match on_expiry {
        // What waits ends at its soft end.
        OnExpiry::End => patch,
        OnExpiry::Pause => patch.add(&annotation(ON_EXPIRY), on_expiry.as_str()),
    };
    let patch = labels.iter().fold(patch, |patch, (key, value)| {
        patch.add(&label(key), value.as_str())
    });
    stored_annotations(annotations).fold(patch, |patch, (key, value)| {
        patch.add(&annotation(&key), value)
    })
}

fn change_state(uid: &Uid, from: PoolMemberState, to: PoolMemberState) -> JsonPatch {
    JsonPatch::default()
        .test("/metadata/uid", uid.as_str())
        .test(&label(POOL_STATE), from.as_str())
        .replace(&label(POOL_STATE), to.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_requires_the_instance_and_that_it_waits() {
        let ends = ClaimedEnds {
            ends_after: Some("90".into()),
            active_deadline: Some(3700),
        };
        let labels = BTreeMap::from([("team".to_owned(), "ml".to_owned())]);
        let annotations = BTreeMap::from([("gateway/owner".to_owned(), "a b".to_owned())]);
        let patch = claim(
            &Uid::new("p1"),
            "c1",
            &ends,
            &labels,
            &annotations,
            OnExpiry::Pause,
        );
        assert_eq!(
            serde_json::to_value(patch).unwrap(),
            json!([
                {"op": "test", "path": "/metadata/uid", "value": "p1"},
                {"op": "test", "path": "/metadata/labels/sandbox.dev~1pool-state", "value": "waiting"},
                {"op": "replace", "path": "/metadata/labels/sandbox.dev~1pool-state", "value": "taken"},
                {"op": "add", "path": "/metadata/annotations/sandbox.dev~1claim", "value": "c1"},
                {"op": "add", "path": "/metadata/annotations/cluster-autoscaler.kubernetes.io~1safe-to-evict", "value": "false"},
                {"op": "add", "path": "/metadata/annotations/sandbox.dev~1ends-after", "value": "90"},
                {"op": "replace", "path": "/spec/activeDeadlineSeconds", "value": 3700},
                {"op": "add", "path": "/metadata/annotations/sandbox.dev~1on-expiry", "value": "pause"},
                {"op": "add", "path": "/metadata/labels/team", "value": "ml"},
                {"op": "add", "path": "/metadata/annotations/gateway.annotations.sandbox.dev~1owner", "value": "a b"},
            ])
        );
        let unchanged = ClaimedEnds::default();
        let none = BTreeMap::new();
        let patch = claim(
            &Uid::new("p1"),
            "c1",
            &unchanged,
            &none,
            &none,
            OnExpiry::End,
        );
        let patch = serde_json::to_value(patch).unwrap();
        assert_eq!(patch.as_array().unwrap().len(), 5);
    }
}
