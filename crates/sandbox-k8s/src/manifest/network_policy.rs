//! The NetworkPolicy that keeps sandboxes from the network, and what the policies of a namespace mean together.
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta,
};

use crate::names::{EGRESS, EGRESS_NONE, EGRESS_POLICY, MANAGED_BY, MANAGER};

/// The type of a policy that is about what Pods reach.
const EGRESS_TYPE: &str = "Egress";

/// What the policies of a namespace let a Pod reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Nothing.
    Nothing,
    /// Everything, because no policy is about what it reaches.
    Everything,
    /// What these policies allow. They add up, so that one that allows nothing has no effect beside them.
    Allowed(Vec<String>),
}

/// Returns the policy that lets Pods with the label [`EGRESS`] reach nothing. It is the same for all sandboxes.
pub fn deny_all(namespace: &str) -> NetworkPolicy {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let selected = [label(MANAGED_BY, MANAGER), label(EGRESS, EGRESS_NONE)];
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(EGRESS_POLICY.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector {
                match_labels: Some(selected.into()),
                match_expressions: None,
            }),
            policy_types: Some(vec![EGRESS_TYPE.to_owned()]),
            ..NetworkPolicySpec::default()
        }),
    }
}

/// Returns what the policies of a namespace let a Pod with these labels reach. A selector that cannot be understood may
/// select it, but does not protect it.
pub fn judge<'a>(
    policies: impl IntoIterator<Item = &'a NetworkPolicy>,
    labels: &BTreeMap<String, String>,
) -> Reach {
    let mut is_denied = false;
    let mut allowing = Vec::new();
    for policy in policies {
        let Some(spec) = policy.spec.as_ref().filter(|spec| is_about_egress(spec)) else {
            continue;
        };
        let is_selected = spec
            .pod_selector
            .as_ref()
            .map_or(Some(true), |selector| selects(selector, labels));
        if is_selected == Some(false) {
            continue;
        }
        is_denied |= is_selected == Some(true);
        if spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()) {
            allowing.push(policy.metadata.name.clone().unwrap_or_default());
        }
    }
    match (is_denied, allowing.is_empty()) {
        (true, true) => Reach::Nothing,
        (false, true) => Reach::Everything,
        (_, false) => Reach::Allowed(allowing),
    }
}

/// Without types, a policy is about what Pods reach only if it has rules for that.
fn is_about_egress(spec: &NetworkPolicySpec) -> bool {
    match spec.policy_types.as_deref() {
        None | Some([]) => spec.egress.as_ref().is_some_and(|rules| !rules.is_empty()),
        Some(types) => types.iter().any(|one| one == EGRESS_TYPE),
    }
}

/// Whether a selector selects these labels; `None` if it has an operator that is not known.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> Option<bool> {
    let has_all = selector
        .match_labels
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let mut is_selected = Some(has_all);
    for requirement in selector.match_expressions.iter().flatten() {
        match meets(requirement, labels) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => is_selected = is_selected.filter(|selected| !selected),
        }
    }
    is_selected
}

fn meets(
    requirement: &LabelSelectorRequirement,
    labels: &BTreeMap<String, String>,
) -> Option<bool> {
    let value = labels.get(&requirement.key);
    let is_listed =
        value.is_some_and(|value| requirement.values.iter().flatten().any(|one| one == value));
    match requirement.operator.as_str() {
        "In" => Some(is_listed),
        "NotIn" => Some(!is_listed),
        "Exists" => Some(value.is_some()),
        "DoesNotExist" => Some(value.is_none()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn policy(name: &str, spec: Value) -> NetworkPolicy {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
    }

    fn labels(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = [(MANAGED_BY, MANAGER), (EGRESS, EGRESS_NONE)];
        own.iter()
            .chain(more)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_own_policy_is_enough() {
        let own = deny_all("boxes");
        assert_eq!(judge([&own], &labels(&[])), Reach::Nothing);
        let mut other = labels(&[]);
        other.remove(EGRESS);
        assert_eq!(judge([&own], &other), Reach::Everything);
        assert_eq!(judge([], &labels(&[])), Reach::Everything);
    }

    #[test]
    fn one_policy_that_allows_more_undoes_it() {
        let everything = json!([{}]);
        let some = json!([{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}]);
        for (spec, expected) in [
            (json!({"podSelector": {}, "egress": everything}), Some(true)),
            (json!({"egress": some}), Some(true)),
            (
                json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": some}),
                Some(true),
            ),
            (
                json!({"podSelector": {"matchLabels": {"team": "ml"}}, "egress": some}),
                Some(true),
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": EGRESS, "operator": "Exists"}]}, "egress": some}),
                Some(true),
            ),
            // An operator of a later version.
            (
                json!({"podSelector": {"matchExpressions": [{"key": "x", "operator": "Gt", "values": ["1"]}]}, "egress": some}),
                Some(true),
            ),
            (
                json!({"podSelector": {"matchLabels": {"team": "ops"}}, "egress": some}),
                None,
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": EGRESS, "operator": "DoesNotExist"}]}, "egress": some}),
                None,
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": EGRESS, "operator": "NotIn", "values": ["none"]}]}, "egress": some}),
                None,
            ),
            (
                json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}),
                None,
            ),
            (
                json!({"podSelector": {}, "policyTypes": ["Ingress"], "egress": some}),
                None,
            ),
            (
                json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
                None,
            ),
            (Value::Null, None),
        ] {
            let other = policy("other", spec.clone());
            let reach = judge([&deny_all("boxes"), &other], &labels(&[("team", "ml")]));
            let expected = match expected {
                Some(_) => Reach::Allowed(vec!["other".to_owned()]),
                None => Reach::Nothing,
            };
            assert_eq!(reach, expected, "{spec}");
        }
    }

    #[test]
    fn only_a_policy_that_certainly_selects_it_denies() {
        for (spec, expected) in [
            (
                json!({"podSelector": {}, "policyTypes": ["Egress"]}),
                Reach::Nothing,
            ),
            (
                json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": []}),
                Reach::Nothing,
            ),
            (json!({"podSelector": {}}), Reach::Everything),
            (
                json!({"podSelector": {}, "policyTypes": []}),
                Reach::Everything,
            ),
            (
                json!({"podSelector": {"matchExpressions": [{"key": "x", "operator": "Gt", "values": ["1"]}]}, "policyTypes": ["Egress"]}),
                Reach::Everything,
            ),
        ] {
            let reach = judge([&policy("other", spec.clone())], &labels(&[]));
            assert_eq!(reach, expected, "{spec}");
        }
    }
}
