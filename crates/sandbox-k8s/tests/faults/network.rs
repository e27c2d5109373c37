//! Keeping sandboxes from the network: the label, the policy, and what would prove it.

use sandbox_core::{Error, NetworkIsolation, Result, SandboxBackend, SandboxInfo, Uid};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::{Value, json};

use crate::support::{backend, create_running, pod, server, spec};

const POLICY: &str = "sandbox-egress-none";
const LABEL: &str = "sandbox.dev/egress";

async fn create_offline(backend: &KubernetesBackend) -> SandboxInfo {
    let (_, mut spec) = spec();
    spec.is_offline = true;
    backend.create(spec).await.unwrap()
}

async fn isolate(backend: &KubernetesBackend, info: &SandboxInfo) -> Result<NetworkIsolation> {
    backend.isolate_network(&info.id, &info.uid).await
}

fn policy(server: &ApiServer) -> Option<Value> {
    server.object("networkpolicies", POLICY)
}

/// A policy that lets Pods with this selector reach DNS.
fn allow_dns(name: &str, selector: Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name},
        "spec": {
            "podSelector": selector, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}],
        },
    })
}

/// The message of an error that a retry does not change.
fn message(result: Result<NetworkIsolation>) -> String {
    let error = result.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Backend {
                transient: false,
                ..
            }
        ),
        "{error:?}"
    );
    error.to_string()
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_costs_a_label_and_the_first_one_a_policy() {
    let server = server();
    let backend = backend(&server);
    for _ in 0..3 {
        let info = create_offline(&backend).await;
        assert_eq!(pod(&server, &info.id)["metadata"]["labels"][LABEL], "none");
        // It is no label of the user.
        assert!(info.labels.is_empty(), "{:?}", info.labels);
        let isolation = isolate(&backend, &info).await.unwrap();
        assert!(isolation.was_ordered);
        let canaries: Vec<_> = isolation.canaries.iter().map(ToString::to_string).collect();
        assert_eq!(
            canaries,
            [
                "the API server at 10.96.0.1:443",
                "the API server at 192.168.7.2:6443",
                "the metadata service at 169.254.169.254:80",
            ]
        );
    }
    assert_eq!(server.count_requests("create networkpolicies"), 1);
    assert_eq!(server.count_requests("patch pods"), 0);
    let expected = json!({
        "podSelector": {"matchLabels": {"sandbox.dev/managed-by": "sandbox-sdk", LABEL: "none"}},
        "policyTypes": ["Egress"],
    });
    assert_eq!(policy(&server).unwrap()["spec"], expected);
    let plain = create_running(&server).await;
    assert_eq!(
        pod(&server, &plain.id)["metadata"]["labels"][LABEL],
        Value::Null
    );
}

#[tokio::test(start_paused = true)]
async fn an_existing_sandbox_gets_the_label_once_the_policy_is_there() {
    let server = server();
    let info = create_running(&server).await;
    let backend = backend(&server);
    assert!(!isolate(&backend, &info).await.unwrap().was_ordered);
    assert_eq!(pod(&server, &info.id)["metadata"]["labels"][LABEL], "none");
    let kinds: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.kind())
        .collect();
    let position = |kind: &str| kinds.iter().position(|one| one == kind).unwrap();
    assert!(
        position("create networkpolicies") < position("patch pods"),
        "{kinds:?}"
    );
    assert!(isolate(&backend, &info).await.unwrap().was_ordered);
    assert_eq!(server.count_requests("patch pods"), 1);

    let other = backend
        .isolate_network(&info.id, &Uid::new("another"))
        .await;
    assert!(matches!(other, Err(Error::NotFound { .. })), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_another_client_creates_at_the_same_time_is_enough() {
    let server = server();
    let backend = backend(&server);
    let info = create_offline(&backend).await;
    for fault in [Fault::CutAfter, Fault::unavailable()] {
        server.inject("create networkpolicies", fault);
        isolate(&backend, &info).await.unwrap();
    }
    let refused = Fault::refuse(409, "AlreadyExists", "it exists already");
    let server = self::server();
    let backend = self::backend(&server);
    let (first, second) = (
        create_offline(&backend).await,
        create_offline(&backend).await,
    );
    server.inject("create networkpolicies", refused);
    let results = tokio::join!(isolate(&backend, &first), isolate(&backend, &second));
    assert!(results.0.is_ok() || results.1.is_ok(), "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn a_policy_of_this_name_that_does_not_deny_is_named() {
    let server = server();
    let backend = backend(&server);
    let info = create_offline(&backend).await;
    let mut other = allow_dns(POLICY, json!({"matchLabels": {"app": "web"}}));
    other["spec"]["egress"] = json!([]);
    server.store("networkpolicies", other);
    let message = message(isolate(&backend, &info).await);
    assert!(
        message
            .contains("NetworkPolicy sandbox-egress-none in the namespace boxes does not select"),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_lets_the_sandbox_out_is_named_and_nothing_is_changed() {
    for (selector, lets_out) in [
        (json!({}), true),
        (
            json!({"matchLabels": {"sandbox.dev/managed-by": "sandbox-sdk"}}),
            true,
        ),
        (
            json!({"matchExpressions": [{"key": LABEL, "operator": "DoesNotExist"}]}),
            false,
        ),
        (json!({"matchLabels": {"app": "web"}}), false),
    ] {
        let server = server();
        let info = create_running(&server).await;
        server.store("networkpolicies", allow_dns("allow-dns", selector.clone()));
        let result = isolate(&backend(&server), &info).await;
        if lets_out {
            let message = message(result);
            assert!(
                message.contains("the NetworkPolicy allow-dns in the namespace boxes lets the sandbox out as well"),
                "{message}"
            );
            assert_eq!(server.count_requests("patch pods"), 0, "{selector}");
        } else {
            result.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn missing_permissions_are_named_with_what_grants_them() {
    for (kind, parts) in [
        (
            "list networkpolicies",
            [
                "no permission to list networkpolicies in the namespace boxes",
                "kubectl apply -n boxes -f deploy/egress.yaml",
            ],
        ),
        (
            "create networkpolicies",
            [
                "has no NetworkPolicy sandbox-egress-none, and there is no permission to create networkpolicies",
                "kubectl apply -n boxes -f deploy/egress.yaml",
            ],
        ),
    ] {
        let server = server();
        let backend = backend(&server);
        let info = create_offline(&backend).await;
        server.inject_always(kind, Fault::Forbidden);
        let message = message(isolate(&backend, &info).await);
        for part in parts {
            assert!(message.contains(part), "{kind}: {message}");
        }
    }
    // The policy is there, so that it need not be created.
    let server = server();
    let backend = backend(&server);
    let info = create_offline(&backend).await;
    isolate(&backend, &info).await.unwrap();
    server.inject_always("create networkpolicies", Fault::Forbidden);
    isolate(&backend, &info).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_the_address_of_the_service_nothing_would_prove_it() {
    let server = server();
    server.forbid("get services");
    let first = backend(&server);
    let info = create_offline(&first).await;
    let message = message(isolate(&first, &info).await);
    assert!(
        message.contains("kubectl apply -f deploy/egress-proof.yaml"),
        "{message}"
    );
    // What is known is refused by the proxy all the same.
    assert_eq!(
        first.control_plane().await,
        ["192.168.7.2".parse::<std::net::IpAddr>().unwrap()]
    );
}

#[tokio::test(start_paused = true)]
async fn the_addresses_of_the_api_server_come_from_the_cluster_and_the_client() {
    let server = server();
    let backend = backend(&server).with_api_server("https://198.51.100.7:6443");
    let addresses = |all: &[&str]| {
        all.iter()
            .map(|text| text.parse::<std::net::IpAddr>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        backend.control_plane().await,
        addresses(&["10.96.0.1", "192.168.7.2", "198.51.100.7"])
    );
    // One of this machine is none for a sandbox.
    let local = self::backend(&server).with_api_server("https://127.0.0.1:6443");
    assert_eq!(
        local.control_plane().await,
        addresses(&["10.96.0.1", "192.168.7.2"])
    );
    server.forbid("get /api");
    let other = self::backend(&server);
    assert_eq!(other.control_plane().await, addresses(&["10.96.0.1"]));
    server.set_unreachable(true);
    assert_eq!(self::backend(&server).control_plane().await, addresses(&[]));
}
