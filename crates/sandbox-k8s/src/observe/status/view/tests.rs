//! Pods, and what is read from them.

use super::*;
use serde_json::{Value, json};
use std::time::Duration;

/// A managed Pod; `change` has fields of its status, `nodeName`, `deleting`, and `state`, that of the
/// sandbox's container.
pub(crate) fn pod(mut change: Value) -> Pod {
    let mut take = |field: &str| change.as_object_mut().unwrap().remove(field);
    let (node, deleting, state) = (take("nodeName"), take("deleting"), take("state"));
    let mut status = json!({"phase": "Pending"});
    let container = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    if let Some(state) = state {
        // A mesh's container comes first and crashes, which must not count.
        let mesh = container("istio-proxy", json!({"terminated": {"exitCode": 1}}));
        status["containerStatuses"] = json!([mesh, container("sandbox", state)]);
    }
    status
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {
            "name": "sbx-a", "uid": "p1", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": deleting,
            "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": "sbx-a", "team": "ml"},
            "annotations": {"sandbox.dev/owner-uid": "s1", "sandbox.dev/ends-after": "60", "sandbox.dev/nonce": "n"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "sbx-a-keys", "uid": "s1"}],
        },
        "spec": {
            "nodeName": node, "activeDeadlineSeconds": 3600, "runtimeClassName": "gvisor",
            "containers": [
                {"name": "istio-proxy", "ports": [{"name": "ssh", "containerPort": 9}]},
                {"name": "sandbox", "image": "busybox", "ports": [{"name": "ssh", "containerPort": 2222}],
                 "resources": {"limits": {"memory": "64Mi", "ephemeral-storage": "1Gi"}}},
            ],
        },
        "status": status,
    }))
    .unwrap()
}

pub(crate) fn view(change: Value) -> PodView {
    PodView::from_pod(&pod(change)).unwrap()
}

#[test]
fn a_pod_is_described_for_people() {
    let view = view(
        json!({"nodeName": "n1", "phase": "Running", "podIP": "10.0.0.7",
                           "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}}),
    );
    let info = view.info();
    assert_eq!(
        (info.id.as_str(), info.uid.as_str(), info.state),
        ("sbx-a", "p1", SandboxState::Running)
    );
    assert_eq!(
        (info.address.as_deref(), info.port),
        (Some("10.0.0.7"), Some(2222))
    );
    assert_eq!(info.labels, BTreeMap::from([("team".into(), "ml".into())]));
    assert_eq!(
        info.expires_at,
        Some(info.created_at + Duration::from_secs(60))
    );
    assert_eq!(
        (info.user.as_str(), info.image.as_deref()),
        ("sandbox", Some("busybox"))
    );
    assert_eq!(
        info.isolation.applied,
        ["Pod Security baseline", "runtime class gvisor"]
    );
    let limits: Vec<_> = info
        .limits
        .iter()
        .map(|l| (l.resource.as_str(), l.value.as_str()))
        .collect();
    assert_eq!(limits, [("disk", "1Gi"), ("memory", "64Mi")]);
    assert_eq!(view.problem, None);
}

#[test]
fn each_status_has_a_state_and_a_problem() {
    use SandboxState::{Ended, Pending, Running};
    let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
    let ended =
        |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
    let first = |name: &str, state: Value| json!([{"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
    let copier = |state: Value| first("sandbox-server", state);
    let mesh = |state: Value| first("mesh-init", state);
    let running = json!({"running": {}});
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low", "state": ended(137, "Error")});
    let disrupted =
        json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
    for (status, state, problem) in [
        (json!({}), Pending, None),
        (
            json!({"state": waiting("ContainerCreating")}),
            Pending,
            None,
        ),
        (
            json!({"state": waiting("ErrImageNeverPull")}),
            Pending,
            Some("Never"),
        ),
        (json!({"state": running, "phase": "Running"}), Running, None),
        (
            json!({"state": ended(137, "OOMKilled"), "phase": "Running"}),
            Ended,
            Some("limit of 64Mi"),
        ),
        (
            json!({"state": ended(0, "Completed"), "phase": "Succeeded"}),
            Ended,
            Some("by itself"),
        ),
        (evicted, Ended, Some("evicted: low")),
        (json!({"phase": "Failed"}), Ended, Some("reports no reason")),
        (
            json!({"initContainerStatuses": copier(waiting("ImagePullBackOff"))}),
            Pending,
            Some("SANDBOX_SERVER_IMAGE"),
        ),
        (
            json!({"initContainerStatuses": copier(ended(1, "Error"))}),
            Pending,
            Some("SANDBOX_SERVER_IMAGE"),
        ),
        (
            json!({"initContainerStatuses": copier(ended(0, "Completed")), "state": running}),
            Running,
            None,
        ),
        // Init containers of others count only while the sandbox's container waits for them.
        (
            json!({"initContainerStatuses": mesh(waiting("ErrImageNeverPull")), "state": waiting("PodInitializing")}),
            Pending,
            Some("init container mesh-init: "),
        ),
        (
            json!({"initContainerStatuses": mesh(waiting("CrashLoopBackOff")), "state": running}),
            Running,
            None,
        ),
        // The disruption is announced and has not happened yet.
        (
            json!({"state": running, "conditions": disrupted}),
            Running,
            None,
        ),
        (
            json!({"deleting": "2026-01-01T00:00:09Z", "state": running}),
            Ended,
            None,
        ),
        (
            json!({"deleting": "2026-01-01T00:00:09Z", "state": ended(143, "Error")}),
            Ended,
            None,
        ),
        (
            json!({"deleting": "2026-01-01T00:00:09Z", "conditions": disrupted}),
            Ended,
            Some("evicted"),
        ),
    ] {
        let view = view(status.clone());
        assert_eq!(view.state, state, "{status}");
        match (problem, &view.problem) {
            (None, None) => {}
            (Some(expected), Some(found)) => {
                assert!(found.message.contains(expected), "{status}: {found:?}")
            }
            (expected, found) => panic!("{status}: {found:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn an_image_that_is_a_volume_is_that_of_the_server() {
    let pull = "failed to pull and unpack image \"r.example/sshd:1\": not found";
    let mut pod = pod(json!({"state": {"waiting": {"reason": "ErrImagePull", "message": pull}}}));
    let problem = |pod: &Pod| PodView::from_pod(pod).unwrap().problem.unwrap();
    assert!(!problem(&pod).message.contains("SANDBOX_SERVER_IMAGE"));
    let volumes = json!([{"name": "sandbox-server", "image": {"reference": "r.example/sshd:1"}}]);
    pod.spec.as_mut().unwrap().volumes = serde_json::from_value(volumes).unwrap();
    assert!(problem(&pod).message.contains("SANDBOX_SERVER_IMAGE") && problem(&pod).is_final());
}

#[test]
fn a_sidecar_that_restarts_repeatedly_is_not_final() {
    let status = json!({"state": {"waiting": {"reason": "PodInitializing"}}, "initContainerStatuses": [{
        "name": "proxy", "image": "", "imageID": "", "ready": false, "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    assert!(!view(status).problem.unwrap().is_final());
}

#[test]
fn the_termination_message_is_not_in_the_problem() {
    let view = view(
        json!({"phase": "Failed", "state": {"terminated": {"exitCode": 1, "message": "\u{1b}[2J hostile"}}}),
    );
    assert_eq!(view.termination_message, "\u{1b}[2J hostile");
    assert!(!view.problem.unwrap().message.contains("hostile"));
}

#[test]
fn nonsense_from_the_server_is_no_panic() {
    let mut odd = pod(json!({"podIP": "not an address", "phase": "Unknown1"}));
    odd.metadata.creation_timestamp = None;
    odd.spec.as_mut().unwrap().containers.clear();
    let view = PodView::from_pod(&odd).unwrap();
    assert_eq!((view.address, view.port, view.image), (None, PORT, None));
    odd.spec = None;
    odd.status = None;
    assert!(PodView::from_pod(&odd).is_ok());
}

#[test]
fn an_end_is_described() {
    let ended = |code: i32, message: &str| {
        let terminated = json!({"exitCode": code, "reason": "Error", "message": message});
        json!({"phase": "Failed", "state": {"terminated": terminated}})
    };
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on disk",
                         "state": {"terminated": {"exitCode": 143, "reason": "Error"}}});
    let deleting = json!({"deleting": "2026-01-01T00:00:09Z", "phase": "Running",
                          "state": {"running": {}}});
    for (pod, cause, message) in [
        (ended(80, "forged"), EndCause::Idle, "idle timeout"),
        (ended(1, "no host key"), EndCause::Failed, "exit code 1"),
        (
            evicted,
            EndCause::Evicted,
            "the Pod was evicted: low on disk",
        ),
        (deleting, EndCause::Deleted, "its Pod is being deleted"),
    ] {
        let end = view(pod).info().end.unwrap();
        assert_eq!(end.cause, cause);
        assert!(end.message.contains(message), "{end:?}");
    }
    let running = json!({"phase": "Running", "state": {"running": {}}});
    assert_eq!(view(running).info().end, None);
}

#[test]
fn the_words_of_the_servers_own_end_are_not_its_log() {
    let ended = |code: i32, message: &str| {
        let terminated = json!({"exitCode": code, "reason": "Error", "message": message});
        view(json!({"phase": "Failed", "state": {"terminated": terminated}})).termination_message
    };
    assert_eq!(ended(80, EndReason::Idle.message()), "");
    assert_eq!(
        ended(1, "sandbox-sshd: no host key"),
        "sandbox-sshd: no host key"
    );
}

#[test]
fn a_finalizer_that_keeps_an_ended_pod_is_named() {
    let with_finalizer = |state: Value| {
        let mut pod = pod(json!({"deleting": "2026-01-01T00:00:09Z", "state": state}));
        pod.metadata.finalizers = Some(vec!["example.com/audit".into()]);
        PodView::from_pod(&pod).unwrap()
    };
    let ended = with_finalizer(json!({"terminated": {"exitCode": 143}}));
    assert!(
        ended
            .describe_deletion()
            .contains("the finalizer example.com/audit keeps it"),
        "{}",
        ended.describe_deletion()
    );
    let unstarted = view(json!({"deleting": "2026-01-01T00:00:09Z", "nodeName": "gone"}));
    assert!(
        unstarted
            .describe_deletion()
            .contains("assigned to the node gone"),
        "{}",
        unstarted.describe_deletion()
    );
    let ending = with_finalizer(json!({"running": {}}));
    assert_eq!(ending.describe_deletion(), "its Pod is being deleted");
}
