//! Ends of Pods and containers, as Kubernetes reports them.

use super::*;
use serde_json::json;

#[test]
fn reasons_of_the_pod_are_judged() {
    let low = "The node was low on resource: ephemeral-storage. Threshold quantity: 2146223340, available: \
               1883424Ki. Container helmer was using 10304Ki, request is 10Mi, has larger consumption of \
               ephemeral-storage. ";
    for (reason, message, kind, detail) in [
        (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
            CreationReason::Timeout,
            "max_lifetime",
        ),
        (
            "Evicted",
            low,
            CreationReason::Evicted,
            "evicted: The node was low",
        ),
        (
            "Evicted",
            "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
            CreationReason::Evicted,
            "5Mi",
        ),
        (
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1, used: 3, capacity: 3",
            CreationReason::Unschedulable,
            "enough resource",
        ),
        (
            "OutOfnvidia.com/gpu",
            "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1, used: 1, capacity: 1",
            CreationReason::Unschedulable,
            "nvidia.com/gpu",
        ),
        (
            "TopologyAffinityError",
            "Resources cannot be allocated with Topology locality",
            CreationReason::Unschedulable,
            "Topology locality",
        ),
        (
            "PodOSSelectorNodeLabelDoesNotMatch",
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
            CreationReason::Rejected,
            "refused the Pod: Failed to admit",
        ),
        (
            "Terminated",
            "Pod was terminated in response to imminent node shutdown.",
            CreationReason::Evicted,
            "shutdown",
        ),
    ] {
        let status: PodStatus = serde_json::from_value(
            json!({"phase": "Failed", "reason": reason, "message": message}),
        )
        .unwrap();
        let found = judge_pod(&status).unwrap();
        assert!(
            found.is_final() && found.reason == kind && found.message.contains(detail),
            "{found:?}"
        );
    }
    let preempted = json!({"phase": "Failed", "conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": "default-scheduler: preempting to accommodate a higher priority pod"}]});
    let found = judge_pod(&serde_json::from_value(preempted).unwrap()).unwrap();
    assert!(
        found.message.contains("preempted by") && found.message.contains("higher priority pod"),
        "{found:?}"
    );
    assert_eq!(
        judge_pod(&serde_json::from_value(json!({"phase": "Failed"})).unwrap()),
        None
    );
}

#[test]
fn ends_of_the_container_are_judged() {
    let runc = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc \
                create failed: unable to start container process: error during container init: exec: ";
    let no_server = format!(
        "{runc}\"/.sandbox/sandbox-sshd\": stat /.sandbox/sandbox-sshd: no such file or directory: unknown"
    );
    let denied = format!("{runc}\"/.sandbox/sandbox-sshd\": permission denied");
    for (ended, memory, detail, server_missing) in [
        (
            json!({"exitCode": 137, "reason": "OOMKilled"}),
            Some("512Mi"),
            "limit of 512Mi",
            false,
        ),
        (
            json!({"exitCode": 137, "reason": "OOMKilled"}),
            None,
            "than the node had",
            false,
        ),
        (
            json!({"exitCode": 137, "reason": "Error"}),
            None,
            "signal 9",
            false,
        ),
        (
            json!({"exitCode": 255, "reason": "Error"}),
            None,
            "exit code 255",
            false,
        ),
        (
            json!({"exitCode": 1, "reason": "Error", "message": "sandbox-sshd: no host key"}),
            None,
            "exit code 1",
            false,
        ),
        (
            json!({"exitCode": 255, "reason": "Error", "message": "exec /usr/local/bin/sandbox-sshd: exec format error\n"}),
            None,
            "architecture",
            false,
        ),
        (
            json!({"exitCode": 1, "reason": "Error", "message": "exec container process `/.sandbox/sandbox-sshd`: Exec format error"}),
            None,
            "architecture",
            false,
        ),
        (
            json!({"exitCode": 1, "reason": "Error", "message": "standard_init_linux.go:219: exec user process caused: exec format error"}),
            None,
            "architecture",
            false,
        ),
        (
            json!({"exitCode": 128, "reason": "StartError", "message": format!("{runc}container init was OOM-killed (memory limit too low?): unknown")}),
            None,
            "raise it",
            false,
        ),
        // Before 1.28, and where the kernel kills one process of the container alone.
        (
            json!({"exitCode": 255, "reason": "OOMKilled"}),
            Some("512Mi"),
            "limit of 512Mi",
            false,
        ),
        (
            json!({"exitCode": 128, "reason": "StartError", "message": no_server}),
            None,
            "image volume",
            true,
        ),
        (
            json!({"exitCode": 128, "reason": "StartError", "message": denied}),
            None,
            "cannot be run",
            true,
        ),
        (
            json!({"exitCode": 128, "reason": "StartError", "message": "cgroups: no such device"}),
            None,
            "no such device",
            false,
        ),
    ] {
        let found = judge_container(&serde_json::from_value(ended.clone()).unwrap(), memory);
        assert!(
            found.is_final() && found.reason == CreationReason::Crashed,
            "{ended}"
        );
        assert!(found.message.contains(detail), "{ended}: {}", found.message);
        assert!(!found.message.contains('\n'), "{ended}: {}", found.message);
        assert_eq!(found.server_missing, server_missing, "{ended}");
    }
}

#[test]
fn the_server_tells_why_it_has_ended() {
    let expired = EndReason::Expired.message();
    for (ended, end, reason, detail, is_unexplained) in [
        (
            json!({"exitCode": 0, "reason": "Completed", "message": expired}),
            EndCause::Lifetime,
            CreationReason::Timeout,
            "reached the end of its lifetime",
            false,
        ),
        (
            json!({"exitCode": 80, "reason": "Error", "message": expired}),
            EndCause::Idle,
            CreationReason::Timeout,
            "idle",
            false,
        ),
        (
            json!({"exitCode": 81, "reason": "Error"}),
            EndCause::NotAttached,
            CreationReason::Timeout,
            "no client was connected",
            false,
        ),
        (
            json!({"exitCode": 82, "reason": "Error"}),
            EndCause::NeverUsed,
            CreationReason::Timeout,
            "no client has ever connected",
            false,
        ),
        (
            json!({"exitCode": 143, "reason": "Error"}),
            EndCause::Stopped,
            CreationReason::Evicted,
            "from outside (exit code 143)",
            true,
        ),
        // A server of a former version ends so for every reason.
        (
            json!({"exitCode": 0, "reason": "Completed"}),
            EndCause::Stopped,
            CreationReason::Evicted,
            "by itself (exit code 0), as it does at the end of a lifetime",
            true,
        ),
        (
            json!({"exitCode": 137, "reason": "Error"}),
            EndCause::Failed,
            CreationReason::Crashed,
            "signal 9",
            true,
        ),
        (
            json!({"exitCode": 80, "reason": "OOMKilled"}),
            EndCause::Failed,
            CreationReason::Crashed,
            "memory",
            false,
        ),
    ] {
        let found = judge_server(&serde_json::from_value(ended.clone()).unwrap(), None);
        assert!(
            found.is_final() && found.message.contains(detail),
            "{ended}: {found:?}"
        );
        assert_eq!(
            (found.end, found.reason, found.is_unexplained),
            (end, reason, is_unexplained),
            "{ended}"
        );
    }
    // Only sandbox-sshd has these exit codes.
    let other = json!({"exitCode": 80, "reason": "Error"});
    let found = judge_image_sshd(&serde_json::from_value(other).unwrap(), None);
    assert_eq!(found.message, "its server ended with exit code 80");
}

#[test]
fn an_image_without_a_server_differs_from_an_expired_lifetime() {
    for (ended, detail) in [
        (
            json!({"exitCode": 0, "reason": "Completed"}),
            "stays in the foreground",
        ),
        (
            json!({"exitCode": 0, "reason": "OOMKilled"}),
            "limit of 512Mi",
        ),
        (json!({"exitCode": 1, "reason": "Error"}), "exit code 1"),
    ] {
        let found = judge_image_sshd(&serde_json::from_value(ended).unwrap(), Some("512Mi"));
        assert!(
            found.is_final() && found.message.contains(detail),
            "{found:?}"
        );
    }
}

#[test]
fn another_container_is_named() {
    let status = json!({"phase": "Failed", "initContainerStatuses": [{
        "name": "istio-init", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"terminated": {"exitCode": 255}}}]});
    let found = judge_unexplained(&serde_json::from_value(status).unwrap());
    assert_eq!(
        found.message,
        "the Pod has ended: its container istio-init ended with exit code 255"
    );
    assert_eq!(found.container.as_deref(), Some("istio-init"));
    assert!(
        judge_unexplained(&PodStatus::default())
            .message
            .contains("reports no reason")
    );
    let status =
        json!({"phase": "Failed", "reason": "OfALaterVersion", "message": "Pod was rejected"});
    let found = judge_unexplained(&serde_json::from_value(status).unwrap());
    assert_eq!(found.reason, CreationReason::Rejected);
    assert_eq!(
        found.message,
        "the node refused the Pod: OfALaterVersion: Pod was rejected"
    );
}
