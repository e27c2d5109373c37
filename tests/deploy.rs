//! The manifests of `deploy/` that no cluster of the tests applies.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use sandbox_k8s::internals::names;
use sandbox_k8s::internals::network_policy::{self, Reach};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The priority levels that every cluster has.
/// <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults>
const BUILT_IN_LEVELS: [&str; 8] = [
    "exempt",
    "catch-all",
    "node-high",
    "system",
    "leader-election",
    "workload-high",
    "workload-low",
    "global-default",
];

/// The FlowSchema that matches every service account.
const SERVICE_ACCOUNTS_PRECEDENCE: i32 = 9000;

fn documents(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file);
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// Parses the documents of a kind. Each of their fields is one that the API has.
fn parse<T: Serialize + DeserializeOwned>(documents: &[Value], kind: &str) -> Vec<T> {
    let of_kind = documents.iter().filter(|document| document["kind"] == kind);
    of_kind
        .map(|document| {
            let object: T = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(&object).unwrap(), *document);
            object
        })
        .collect()
}

/// The service accounts that a file creates.
fn accounts(file: &str) -> BTreeSet<String> {
    let documents = documents(file);
    let accounts = documents
        .iter()
        .filter(|document| document["kind"] == "ServiceAccount");
    accounts
        .map(|account| account["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_flow_schema_matches_the_accounts_of_the_other_files() {
    let documents = documents("flow-schema.yaml");
    let schemas = parse::<FlowSchema>(&documents, "FlowSchema");
    let levels = parse::<PriorityLevelConfiguration>(&documents, "PriorityLevelConfiguration");
    assert_eq!(schemas.len() + levels.len(), documents.len());
    let mut known: BTreeSet<_> = BUILT_IN_LEVELS.map(str::to_owned).into();
    known.extend(
        levels
            .iter()
            .filter_map(|level| level.metadata.name.clone()),
    );
    let mut matched = BTreeSet::new();
    for schema in &schemas {
        let spec = schema.spec.as_ref().unwrap();
        let level = &spec.priority_level_configuration.name;
        assert!(known.contains(level), "{level}");
        let precedence = spec.matching_precedence.unwrap();
        assert!(precedence < SERVICE_ACCOUNTS_PRECEDENCE, "{precedence}");
        for rule in spec.rules.iter().flatten() {
            for subject in &rule.subjects {
                let account = subject.service_account.as_ref().unwrap();
                assert_eq!(account.namespace, "sandboxes");
                matched.insert(account.name.clone());
            }
            for objects in rule.resource_rules.iter().flatten() {
                assert_eq!(objects.namespaces.as_ref().unwrap(), &["sandboxes"]);
            }
        }
    }
    let mut needed = accounts("rbac.yaml");
    needed.extend(accounts("gc.yaml"));
    assert!(matched.is_superset(&needed), "{matched:?} of {needed:?}");
}

/// The policies of a file, and those that the SDK would create.
#[test]
fn the_policies_let_sandboxes_with_egress_rules_reach_nothing() {
    let mut policies = parse::<NetworkPolicy>(&documents("network-policy.yaml"), "NetworkPolicy");
    assert_eq!(policies.len(), 2);
    let own = parse::<NetworkPolicy>(&documents("egress.yaml"), "NetworkPolicy");
    let expected = network_policy::deny_all("sandboxes");
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].metadata.name, expected.metadata.name);
    assert_eq!(own[0].spec, expected.spec);
    policies.extend(own);
    let mut labels = BTreeMap::from([(names::MANAGED_BY.to_owned(), names::MANAGER.to_owned())]);
    let internet = Reach::Allowed(vec!["sandbox-internet".to_owned()]);
    assert_eq!(network_policy::judge(&policies, &labels), internet);
    labels.insert(names::EGRESS.to_owned(), names::EGRESS_NONE.to_owned());
    assert_eq!(network_policy::judge(&policies, &labels), Reach::Nothing);
}

#[test]
fn the_rights_for_egress_rules_are_those_of_every_account_that_creates_or_claims() {
    let documents = documents("egress.yaml");
    let bindings = parse::<RoleBinding>(&documents, "RoleBinding");
    let subjects = bindings[0].subjects.iter().flatten();
    let bound: BTreeSet<_> = subjects.map(|subject| subject.name.clone()).collect();
    let mut creating = accounts("rbac.yaml");
    for file in ["pool/filler.yaml", "pool/claimer.yaml", "gateway/rbac.yaml"] {
        creating.extend(accounts(file));
    }
    assert_eq!(bound, creating);
    assert_eq!(parse::<Role>(&documents, "Role").len(), 1);
    // The other one is of another namespace.
    let documents = self::documents("egress-proof.yaml");
    for document in &documents {
        assert_eq!(document["metadata"]["namespace"], "default");
    }
    assert_eq!(parse::<Role>(&documents, "Role").len(), 1);
    assert_eq!(parse::<RoleBinding>(&documents, "RoleBinding").len(), 1);
}
