//! What is looked at before a sandbox is made: each thing well, and each thing wrong.

use std::time::{Duration, SystemTime};

use Verdict::{Failed, Passed, Skipped, Warning};
use sandbox_core::{Check, SandboxBackend, Verdict};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, SecurityProfile, Transport};
use sandbox_testkit::apiserver::{ApiServer, Fault};

use crate::support::{backend_with, options, server, spec};

const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

/// A cluster that lacks nothing.
fn well() -> ApiServer {
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
    // Its clock is ahead unless it is told.
    server
}

async fn look(server: &ApiServer, options: KubernetesOptions) -> Vec<Check> {
    backend_with(server, options).preflight(spec().1).await
}

fn find<'a>(checks: &'a [Check], name: &str) -> &'a Check {
    checks
        .iter()
        .find(|check| check.name == name)
        .unwrap_or_else(|| panic!("no {name} in {checks:#?}"))
}

#[track_caller]
fn expect(checks: &[Check], name: &str, verdict: Verdict, detail: &str, remedy: Option<&str>) {
    let check = find(checks, name);
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
    let server = well();
    let checks = look(&server, options()).await;
    // The clock of this server is of another year.
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
    expect(&checks, "API server", Passed, "v1.33.0", None);
    expect(
        &checks,
        "namespace",
        Passed,
        "boxes: Pod Security level restricted",
        None,
    );
    expect(&checks, "create pods", Passed, "allowed", None);
    expect(&checks, "transport", Passed, "auto", None);
    expect(&checks, "a Pod, as a dry run", Passed, "accepted", None);
    expect(&checks, "image busybox", Passed, "on each of 2 nodes", None);
    assert_eq!(server.object_names(), [""; 0], "nothing was made");
}

#[tokio::test]
async fn clocks_are_compared() {
    let server = well();
    expect(
        &look(&server, options()).await,
        "clock",
        Warning,
        "differ",
        Some("timedatectl"),
    );
    // Years back, to where this machine's is.
    let ahead = server
        .current_time()
        .duration_since(SystemTime::now())
        .unwrap();
    server.turn_back_clock(ahead);
    expect(
        &look(&server, options()).await,
        "clock",
        Passed,
        "agree",
        None,
    );
    server.turn_back_clock(Duration::from_secs(300));
    expect(
        &look(&server, options()).await,
        "clock",
        Warning,
        "differ",
        Some("timedatectl"),
    );
}

#[tokio::test(start_paused = true)]
async fn without_an_api_server_nothing_else_is_asked() {
    let server = well();
    server.set_unreachable(true);
    let checks = look(&server, options()).await;
    assert_eq!(checks.len(), 2, "{checks:#?}");
    assert_eq!(
        (checks[0].verdict, checks[1].verdict),
        (Failed, Skipped),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn a_namespace_is_compared_with_the_profile() {
    let mut baseline = options();
    baseline.security = SecurityProfile::Baseline;
    let checks = look(&well(), baseline.clone()).await;
    expect(
        &checks,
        "namespace",
        Failed,
        "the security profile is baseline",
        Some("SANDBOX_SECURITY_PROFILE=restricted"),
    );

    let server = server();
    let label = format!("kubectl label namespace boxes {ENFORCED}=restricted");
    expect(
        &look(&server, options()).await,
        "namespace",
        Warning,
        "no Pod Security level",
        Some(&label),
    );
    let label = format!("{ENFORCED}=baseline");
    expect(
        &look(&server, baseline).await,
        "namespace",
        Warning,
        "no Pod Security level",
        Some(&label),
    );
    let mut elsewhere = options();
    elsewhere.namespace = Some("nope".into());
    let checks = look(&server, elsewhere).await;
    expect(
        &checks,
        "namespace",
        Failed,
        "there is no namespace nope",
        Some("kubectl create namespace nope"),
    );
    assert!(
        !find(&checks, "namespace").detail.contains("did you mean"),
        "{checks:#?}"
    );
    server.forbid("get namespaces");
    expect(
        &look(&server, options()).await,
        "namespace",
        Skipped,
        "cannot be read (get namespaces), which",
        None,
    );
}

#[tokio::test]
async fn a_slip_in_the_name_of_a_namespace_is_told_to_whoever_may_list_them() {
    let server = well();
    let mut slip = options();
    slip.namespace = Some("boxs".into());
    let make = Some("kubectl create namespace boxs");
    let checks = look(&server, slip.clone()).await;
    expect(
        &checks,
        "namespace",
        Failed,
        "there is no namespace boxs: did you mean boxes?",
        make,
    );
    server.forbid("list namespaces");
    let checks = look(&server, slip).await;
    expect(
        &checks,
        "namespace",
        Failed,
        "there is no namespace boxs",
        make,
    );
    assert!(
        !find(&checks, "namespace").detail.contains("did you mean"),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn each_right_is_asked_for() {
    let rbac = Some("kubectl apply -n boxes -f deploy/rbac.yaml");
    for right in ["create pods", "watch pods", "delete secrets"] {
        let server = well();
        server.forbid(right);
        let checks = look(&server, options()).await;
        expect(&checks, right, Failed, "forbidden", rbac);
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
    ] {
        let server = well();
        server.forbid(right);
        expect(&look(&server, options()).await, right, Warning, lost, rbac);
    }
    let mut leased = options();
    leased.owner_lease = Some(Duration::from_secs(60));
    let server = well();
    server.forbid("patch leases");
    expect(
        &look(&server, leased).await,
        "patch leases",
        Failed,
        "forbidden",
        rbac,
    );
}

#[tokio::test]
async fn a_transport_is_judged_by_what_it_needs() {
    let with = |transport| {
        let mut options = options();
        options.transport = transport;
        options
    };
    let server = well();
    expect(
        &look(&server, with(Transport::PortForward)).await,
        "transport",
        Passed,
        "port-forward",
        None,
    );
    let checks = look(&server, with(Transport::Direct)).await;
    expect(
        &checks,
        "transport",
        Skipped,
        "only known once there is one: sandbox doctor --try",
        None,
    );
    server.forbid("create pods/portforward");
    let rbac = Some("kubectl apply -n boxes -f deploy/rbac.yaml");
    let checks = look(&server, with(Transport::PortForward)).await;
    expect(
        &checks,
        "transport",
        Failed,
        "create pods/portforward",
        rbac,
    );
    let checks = look(&server, with(Transport::Auto)).await;
    expect(
        &checks,
        "transport",
        Warning,
        "whether there is a route",
        rbac,
    );
}

#[tokio::test]
async fn images_are_looked_for_on_the_nodes() {
    const IMAGE: &str = "image busybox";
    let never = || {
        let mut options = options();
        options.image_pull_policy = Some(PullPolicy::Never);
        options
    };
    let server = well();
    server.add_node("three", &["docker.io/library/python:3.12"]);
    expect(
        &look(&server, options()).await,
        IMAGE,
        Passed,
        "on 2 of 3 nodes; the others pull it",
        None,
    );
    expect(
        &look(&server, never()).await,
        IMAGE,
        Warning,
        "the pull policy is Never",
        Some("load it into the other nodes"),
    );

    let server = self::server();
    server.add_node("one", &["docker.io/library/busybox:1"]);
    expect(
        &look(&server, options()).await,
        IMAGE,
        Skipped,
        "not known before a Pod pulls it",
        None,
    );
    expect(
        &look(&server, never()).await,
        IMAGE,
        Warning,
        "none of 1 nodes",
        Some("IfNotPresent"),
    );
    server.forbid("list nodes");
    expect(
        &look(&server, options()).await,
        IMAGE,
        Skipped,
        "not known before a Pod pulls it",
        None,
    );
}

#[tokio::test]
async fn a_pod_that_is_refused_is_told_with_the_reason() {
    let server = well();
    let refusal = "exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3";
    server.inject(
        "create pods",
        Fault::refuse(
            403,
            "Forbidden",
            format!("pods \"x\" is forbidden: {refusal}"),
        ),
    );
    let checks = look(&server, options()).await;
    expect(
        &checks,
        "a Pod, as a dry run",
        Failed,
        "quota",
        Some("kubectl describe namespace,quota"),
    );
    assert!(
        checks.iter().all(|check| !check.name.starts_with("image ")),
        "it is not known of which: {checks:#?}"
    );
}
