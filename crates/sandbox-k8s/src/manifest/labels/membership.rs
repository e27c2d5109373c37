//! What a sandbox is to a shared pool.
//!
//! Which pool a Pod belongs to is written where nobody can change it later: in a variable of its container, which
//! also makes its server claimable. The labels only select. A Pod whose labels and container disagree belongs to no
//! pool, and a Pod with a claim is taken whatever its labels say.

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::protocol::POOL_VARIABLE;
use sandbox_core::{PoolKey, PoolMember, PoolMemberState, PoolName};

use super::metadata::annotation;
use crate::names::{CLAIM, CONTAINER, POOL, POOL_KEY, POOL_STATE};

/// The pool that a sandbox was created for: its name, and the key of what it was created from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRef {
    /// The name of the pool.
    pub name: PoolName,
    /// The key of the specification.
    pub key: PoolKey,
}

impl PoolRef {
    /// Returns the value of [`POOL_VARIABLE`], and of the field in the Secret: `NAME/KEY`.
    pub fn text(&self) -> String {
        format!("{}/{}", self.name, self.key)
    }

    /// Reads what [`text`](Self::text) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, key) = text.split_once('/')?;
        Some(Self {
            name: name.parse().ok()?,
            key: key.parse().ok()?,
        })
    }

    /// Returns the labels of a sandbox that is created for this pool.
    pub fn labels(&self) -> [(String, String); 3] {
        [
            (POOL, self.name.as_str()),
            (POOL_KEY, self.key.as_str()),
            (POOL_STATE, PoolMemberState::Filling.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
    }
}

/// A sandbox as a member of its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The pool.
    pub pool: PoolRef,
    /// Its state in the pool.
    pub state: PoolMemberState,
    /// The claim that took it, if one did.
    pub claim: Option<String>,
}

impl Membership {
    /// Reads a Pod; `None` if it belongs to no pool, or if its labels contradict its container.
    pub fn from_pod(pod: &Pod) -> Option<Self> {
        let pool = pool_of_container(pod)?;
        let meta = &pod.metadata;
        let label = |key| meta.labels.as_ref()?.get(key).map(String::as_str);
        if label(POOL) != Some(pool.name.as_str()) || label(POOL_KEY) != Some(pool.key.as_str()) {
            return None;
        }
        let claim = annotation(meta, CLAIM).map(str::to_owned);
        let state = match label(POOL_STATE).and_then(|text| {
            PoolMemberState::ALL
                .into_iter()
                .find(|state| state.as_str() == text)
        }) {
            _ if claim.is_some() => PoolMemberState::Taken,
            Some(state) => state,
            None => return None,
        };
        Some(Self { pool, state, claim })
    }

    /// Returns whether this state follows `other`, so that it cannot be the older of the two.
    pub fn is_after(&self, other: &Self) -> bool {
        let rank = |member: &Self| match member.state {
            PoolMemberState::Filling => 0,
            PoolMemberState::Waiting => 1,
            PoolMemberState::Taken | PoolMemberState::Draining => 2,
        };
        rank(self) > rank(other)
    }

    /// Returns the public description.
    pub fn describe(&self) -> PoolMember {
        PoolMember {
            name: self.pool.name.clone(),
            key: self.pool.key.clone(),
            state: self.state,
        }
    }
}

/// Reads the variable of the sandbox's container. Kubernetes applies the last of several with one name, so only a
/// single one counts.
fn pool_of_container(pod: &Pod) -> Option<PoolRef> {
    let containers = &pod.spec.as_ref()?.containers;
    let main = containers.iter().find(|one| one.name == CONTAINER)?;
    let mut variables = main
        .env
        .iter()
        .flatten()
        .filter(|variable| variable.name == POOL_VARIABLE);
    let (first, second) = (variables.next()?, variables.next());
    match second {
        None => PoolRef::parse(first.value.as_deref()?),
        Some(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::ownership::tests::pod;
    use super::*;
    use serde_json::{Value, json};

    pub(crate) const KEY: &str = "0123456789abcdef";

    /// A Pod of the pool `ci` that waits.
    pub(crate) fn member(change: impl FnOnce(&mut Value)) -> Pod {
        pod(|pod| {
            pod["metadata"]["labels"][POOL] = json!("ci");
            pod["metadata"]["labels"][POOL_KEY] = json!(KEY);
            pod["metadata"]["labels"][POOL_STATE] = json!("waiting");
            let variable = json!({"name": POOL_VARIABLE, "value": format!("ci/{KEY}")});
            pod["spec"]["containers"] = json!([{"name": CONTAINER, "env": [variable]}]);
            change(pod);
        })
    }

    fn state(change: impl FnOnce(&mut Value)) -> Option<PoolMemberState> {
        Membership::from_pod(&member(change)).map(|member| member.state)
    }

    #[test]
    fn the_state_is_that_of_the_label_unless_it_was_claimed() {
        for expected in PoolMemberState::ALL {
            let found = state(|pod| pod["metadata"]["labels"][POOL_STATE] = json!(expected));
            assert_eq!(found, Some(expected));
            let claimed = state(|pod| {
                pod["metadata"]["labels"][POOL_STATE] = json!(expected);
                pod["metadata"]["annotations"][CLAIM] = json!("c1");
            });
            assert_eq!(claimed, Some(PoolMemberState::Taken), "{expected}");
        }
        let reference = Membership::from_pod(&member(|_| {})).unwrap().pool;
        assert_eq!(PoolRef::parse(&reference.text()), Some(reference));
    }

    #[test]
    fn labels_that_contradict_the_container_fool_nobody() {
        let table: [(&str, Value); 8] = [
            ("/metadata/labels/sandbox.dev~1pool", json!("other")),
            (
                "/metadata/labels/sandbox.dev~1pool-key",
                json!("fedcba9876543210"),
            ),
            ("/metadata/labels/sandbox.dev~1pool-state", json!("free")),
            ("/metadata/labels/sandbox.dev~1pool-state", json!("")),
            ("/spec/containers/0/name", json!("sidecar")),
            ("/spec/containers/0/env/0/value", json!("ci")),
            ("/spec/containers/0/env/0/value", json!(format!("CI/{KEY}"))),
            ("/spec/containers/0/env/0/name", json!("OTHER")),
        ];
        for (path, value) in table {
            let found = state(|pod| *pod.pointer_mut(path).unwrap() = value.clone());
            assert_eq!(found, None, "{path} = {value}");
        }
        let found = state(|pod| {
            let env = pod.pointer_mut("/spec/containers/0/env").unwrap();
            let second = json!({"name": POOL_VARIABLE, "value": format!("other/{KEY}")});
            env.as_array_mut().unwrap().push(second);
        });
        assert_eq!(found, None, "two variables");
    }

    #[test]
    fn a_state_is_only_followed_by_later_ones() {
        let all = PoolMemberState::ALL.map(|state| Membership {
            state,
            ..Membership::from_pod(&member(|_| {})).unwrap()
        });
        let [filling, waiting, taken, draining] = &all;
        assert!(waiting.is_after(filling) && taken.is_after(waiting) && draining.is_after(waiting));
        assert!(!waiting.is_after(taken) && !taken.is_after(draining) && !draining.is_after(taken));
    }
}
