//! Each preflight check, passing and failing.

use std::time::{Duration, SystemTime};

use Verdict::{Failed, Passed, Skipped, Warning};
use sandbox_core::{Check, SandboxBackend, Verdict};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, SecurityProfile, Transport};
use sandbox_testkit::apiserver::{ApiServer, Fault};

use crate::support::{backend_with, options, server, spec};

const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

/// A cluster that passes every check except that of the clock.
fn healthy_cluster() -> ApiServer {
    let server = server();
    server.label_namespace(ENFORCED, "restricted");
    server.add_node("one", &["docker.io/library/busybox:latest"]);
    server.add_node(
        "two",
        &[
            "docker.io/library/busybox@sha256:0f",
            "docker.io/library/busybox:latest",
        ],
    );
    server
}

async fn preflight(server: &ApiServer, options: KubernetesOptions) -> Vec<Check> {
    backend_with(server, options).preflight(spec().1).await
}

fn find_check<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

#[track_caller]
fn assert_check(
    checks: &[Check],
    name: &str,
    verdict: Verdict,
    detail: &str,
    remedy: Option<&str>,
) {
    let check = find_check(checks, name);
    assert_eq!(check.verdict, verdict, "{check:?}");
    assert!(check.detail.contains(detail), "{check:?}");
    match remedy {
        Some(remedy) => assert!(
            check
                .remedy
                .as_ref()
                .is_some_and(|text| text.contains(remedy)),
            "{check:?}"
        ),
        None => assert_eq!(check.remedy, None, "{check:?}"),
    }
}

#[tokio::test]
async fn a_cluster_that_lacks_nothing_passes() {
    let server = healthy_cluster();
    let checks = preflight(&server, options()).await;
    // The clock of the fake server is years away.
    let others: Vec<_> = checks
        .iter()
        .filter(|check| check.name != "clock")
        .collect();
    assert!(
        others
            .iter()
            .all(|check| check.verdict == Passed && check.remedy.is_none()),
        "{checks:#?}"
    );
    assert_check(&checks, "API server", Passed, "v1.33.0", None);
    assert_check(
        &checks,
        "namespace",
        Passed,
        "boxes: Pod Security level restricted",
        None,
    );
    assert_check(&checks, "create pods", Passed, "allowed", None);
    assert_check(&checks, "transport", Passed, "auto", None);
    assert_check(&checks, "a Pod, as a dry run", Passed, "accepted", None);
    assert_check(&checks, "image busybox", Passed, "on each of 2 nodes", None);
    assert_eq!(server.object_names(), [""; 0], "nothing was created");
}

#[tokio::test]
async fn clocks_are_compared() {
    let server = healthy_cluster();
    assert_check(
        &preflight(&server, options()).await,
        "clock",
        Warning,
        "differ",
        Some("timedatectl"),
    );
    // The server's clock is set back to the local time.
    let ahead = server
        .current_time()
        .duration_since(SystemTime::now())
        .unwrap();
    server.turn_back_clock(ahead);
    assert_check(
        &preflight(&server, options()).await,
        "clock",
        Passed,
        "agree",
        None,
    );
    server.turn_back_clock(Duration::from_secs(300));
    assert_check(
        &preflight(&server, options()).await,
        "clock",
        Warning,
        "differ",
        Some("timedatectl"),
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_nothing_else_is_checked() {
    let server = healthy_cluster();
    server.set_unreachable(true);
    let checks = preflight(&server, options()).await;
    assert_eq!(checks.len(), 2, "{checks:#?}");
    assert_eq!(
        (checks[0].verdict, checks[1].verdict),
        (Failed, Skipped),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn the_level_of_a_namespace_is_compared_with_the_profile() {
    let mut baseline = options();
    baseline.security = SecurityProfile::Baseline;
    let checks = preflight(&healthy_cluster(), baseline.clone()).await;
    assert_check(
        &checks,
        "namespace",
        Failed,
        "the security profile is baseline",
        Some("SANDBOX_SECURITY_PROFILE=restricted"),
    );

    let server = server();
    let label = format!("kubectl label namespace boxes {ENFORCED}=restricted");
    assert_check(
        &preflight(&server, options()).await,
        "namespace",
        Warning,
        "no Pod Security level",
        Some(&label),
    );
    let label = format!("{ENFORCED}=baseline");
    assert_check(
        &preflight(&server, baseline).await,
        "namespace",
        Warning,
        "no Pod Security level",
        Some(&label),
    );
    let mut elsewhere = options();
    elsewhere.namespace = Some("nope".into());
    let checks = preflight(&server, elsewhere).await;
    assert_check(
        &checks,
        "namespace",
        Failed,
        "there is no namespace nope",
        Some("kubectl create namespace nope"),
    );
    assert!(
        !find_check(&checks, "namespace")
            .detail
            .contains("did you mean"),
        "{checks:#?}"
    );
    server.forbid("get namespaces");
    assert_check(
        &preflight(&server, options()).await,
        "namespace",
        Skipped,
        "cannot be read (get namespaces), which",
        None,
    );
}

#[tokio::test]
async fn a_namespace_typo_gets_a_suggestion_if_namespaces_may_be_listed() {
    let server = healthy_cluster();
    let mut slip = options();
    slip.namespace = Some("boxs".into());
    let create_namespace = Some("kubectl create namespace boxs");
    let checks = preflight(&server, slip.clone()).await;
    assert_check(
        &checks,
        "namespace",
        Failed,
        "there is no namespace boxs: did you mean boxes?",
        create_namespace,
    );
    server.forbid("list namespaces");
    let checks = preflight(&server, slip).await;
    assert_check(
        &checks,
        "namespace",
        Failed,
        "there is no namespace boxs",
        create_namespace,
    );
    assert!(
        !find_check(&checks, "namespace")
            .detail
            .contains("did you mean"),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn each_permission_is_checked() {
    let rbac = Some("kubectl apply -n boxes -f deploy/rbac.yaml");
    for right in ["create pods", "watch pods", "delete secrets"] {
        let server = healthy_cluster();
        server.forbid(right);
        let checks = preflight(&server, options()).await;
        assert_check(&checks, right, Failed, "forbidden", rbac);
        assert_eq!(
            checks
                .iter()
                .filter(|check| check.verdict == Failed)
                .count(),
            1,
            "{checks:#?}"
        );
    }
    for (right, lost) in [
        ("patch pods", "extend"),
        ("get pods/log", "the server's log"),
        ("watch events", "events"),
        ("get configmaps", "missing source"),
    ] {
        let server = healthy_cluster();
        server.forbid(right);
        assert_check(
            &preflight(&server, options()).await,
            right,
            Warning,
            lost,
            rbac,
        );
    }
    let mut leased = options();
    leased.owner_lease = Some(Duration::from_secs(60));
    let server = healthy_cluster();
    server.forbid("patch leases");
    assert_check(
        &preflight(&server, leased).await,
        "patch leases",
        Failed,
        "forbidden",
        rbac,
    );
}

#[tokio::test]
async fn a_transport_is_checked_for_the_permissions_it_needs() {
    let with = |transport| {
        let mut options = options();
        options.transport = transport;
        options
    };
    let server = healthy_cluster();
    assert_check(
        &preflight(&server, with(Transport::PortForward)).await,
        "transport",
        Passed,
        "port-forward",
        None,
    );
    let checks = preflight(&server, with(Transport::Direct)).await;
    assert_check(
        &checks,
        "transport",
        Skipped,
        "only known once there is one: sandbox doctor --try",
        None,
    );
    server.forbid("create pods/portforward");
    let rbac = Some("kubectl apply -n boxes -f deploy/rbac.yaml");
    let checks = preflight(&server, with(Transport::PortForward)).await;
    assert_check(
        &checks,
        "transport",
        Failed,
        "create pods/portforward",
        rbac,
    );
    let checks = preflight(&server, with(Transport::Auto)).await;
    assert_check(
        &checks,
        "transport",
        Warning,
        "whether there is a route",
        rbac,
    );
}

#[tokio::test]
async fn images_are_searched_on_the_nodes() {
    const IMAGE: &str = "image busybox";
    let never = || {
        let mut options = options();
        options.image_pull_policy = Some(PullPolicy::Never);
        options
    };
    let server = healthy_cluster();
    server.add_node("three", &["docker.io/library/python:3.12"]);
    assert_check(
        &preflight(&server, options()).await,
        IMAGE,
        Passed,
        "on 2 of 3 nodes; the others pull it",
        None,
    );
    assert_check(
        &preflight(&server, never()).await,
        IMAGE,
        Warning,
        "the pull policy is Never",
        Some("load it into the other nodes"),
    );

    let server = self::server();
    server.add_node("one", &["docker.io/library/busybox:1"]);
    assert_check(
        &preflight(&server, options()).await,
        IMAGE,
        Skipped,
        "not known before a Pod pulls it",
        None,
    );
    assert_check(
        &preflight(&server, never()).await,
        IMAGE,
        Warning,
        "none of 1 nodes",
        Some("IfNotPresent"),
    );
    server.forbid("list nodes");
    assert_check(
        &preflight(&server, options()).await,
        IMAGE,
        Skipped,
        "not known before a Pod pulls it",
        None,
    );
}

#[tokio::test]
async fn a_refused_pod_is_reported_with_the_reason() {
    let server = healthy_cluster();
    let refusal = "exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3";
    server.inject(
        "create pods",
        Fault::refuse(
            403,
            "Forbidden",
            format!("pods \"x\" is forbidden: {refusal}"),
        ),
    );
    let checks = preflight(&server, options()).await;
    assert_check(
        &checks,
        "a Pod, as a dry run",
        Failed,
        "quota",
        Some("kubectl describe namespace,quota"),
    );
    assert!(
        checks.iter().all(|check| !check.name.starts_with("image ")),
        "a refused Pod names no image: {checks:#?}"
    );
}
