//! Judges why a container does not run yet, and why a Pod is not scheduled.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, PodCondition};
use sandbox_core::CreationReason;

use super::image_pull;
use super::problem::{Problem, WaitLimit};
use super::start_failure::judge_start;

/// Judges a waiting container; `None` if that is normal.
pub(crate) fn judge_waiting(state: &ContainerStateWaiting) -> Option<Problem> {
    let reason = state.reason.as_deref().unwrap_or_default();
    let message = state.message.as_deref().unwrap_or_default();
    let text = if message.is_empty() { reason } else { message };
    let problem = match reason {
        "" | "ContainerCreating" | "PodInitializing" => return None,
        "InvalidImageName" => Problem::fatal(CreationReason::ImagePull, text),
        "ErrImageNeverPull" => Problem::fatal(
            CreationReason::ImagePull,
            format!("{text} (the pull policy is Never, and the node does not have the image)"),
        ),
        "SignatureValidationFailed" => Problem::fatal(CreationReason::Rejected, text),
        "ErrImagePull" | "ImagePullBackOff" | "ImageInspectError" | "RegistryUnavailable" => {
            image_pull::judge_pull(text)
        }
        "CreateContainerConfigError" => judge_config(text),
        "CreateContainerError" | "RunContainerError" | "StartError" => {
            judge_start(text).unwrap_or_else(|| Problem::transient(CreationReason::Other, text))
        }
        "CrashLoopBackOff" => Problem::fatal(CreationReason::Crashed, text),
        _ => Problem::transient(CreationReason::Other, text),
    };
    Some(problem)
}

/// Judges why a container's configuration is incomplete.
fn judge_config(message: &str) -> Problem {
    let object = ["secret \"", "configmap \""]
        .iter()
        .any(|kind| message.contains(kind));
    if message.contains("runAsNonRoot") {
        Problem::fatal(
            CreationReason::Rejected,
            format!(
                "{message} (the security profile Restricted never runs as root: give the user by number, or \
                 choose the profile Baseline: SANDBOX_SECURITY_PROFILE=baseline)"
            ),
        )
    } else if object && message.contains("not found") {
        Problem {
            wait_limit: WaitLimit::Brief,
            ..Problem::transient(CreationReason::Other, message)
        }
    } else if message.contains("couldn't find key") {
        Problem::fatal(CreationReason::Other, message)
    } else {
        // Among others: failed to sync secret cache: timed out waiting for the condition.
        Problem::transient(CreationReason::Other, message)
    }
}

/// Judges the condition `PodScheduled`.
pub(super) fn judge_unscheduled(condition: &PodCondition) -> Option<Problem> {
    if condition.type_ != "PodScheduled" || condition.status != "False" {
        return None;
    }
    let reason = condition
        .reason
        .as_deref()
        .unwrap_or("no node has room for it");
    let text = condition
        .message
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(reason);
    let text = match UNSCHEDULED.iter().find(|(sign, _)| text.contains(sign)) {
        Some((_, hint)) => format!("{text} ({hint})"),
        None => text.to_owned(),
    };
    // A cluster with an autoscaler may have room soon.
    Some(Problem::transient(CreationReason::Unschedulable, text))
}

/// Complaints of the scheduler, each with a remedy. The first match wins: it is the one that the user
/// can change most easily.
const UNSCHEDULED: [(&str, &str); 5] = [
    (
        "persistentvolumeclaim",
        "create that claim in the sandbox's namespace, or mount another",
    ),
    (
        "match Pod's node affinity",
        "no node has the requested labels: kubectl get nodes --show-labels",
    ),
    (
        "match node selector",
        "no node has the requested labels: kubectl get nodes --show-labels",
    ),
    (
        "taint",
        "tolerate the taint if the sandbox may run on those nodes",
    ),
    (
        "Insufficient",
        "request less, or wait until a node has room",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use CreationReason::{Crashed, ImagePull, Other, Rejected};

    fn judge(reason: &str, message: &str) -> Option<Problem> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        judge_waiting(&ContainerStateWaiting {
            reason: text(reason),
            message: text(message),
        })
    }

    #[test]
    fn real_messages_are_judged() {
        let (now, brief, grace) = (WaitLimit::None, WaitLimit::Brief, WaitLimit::Grace);
        for (reason, message, kind, wait_limit) in [
            (
                "InvalidImageName",
                r#"Failed to apply default image tag "Bad:Image:x": couldn't parse image name "Bad:Image:x": invalid reference format"#,
                ImagePull,
                now,
            ),
            (
                "ErrImageNeverPull",
                r#"Container image "localhost/none:1" is not present with pull policy of Never"#,
                ImagePull,
                now,
            ),
            (
                "ErrImagePull",
                "rpc error: code = NotFound desc = x: not found",
                ImagePull,
                now,
            ),
            (
                "ImagePullBackOff",
                r#"Back-off pulling image "x""#,
                ImagePull,
                grace,
            ),
            ("SignatureValidationFailed", "", Rejected, now),
            (
                "CreateContainerConfigError",
                r#"secret "redis-url" not found"#,
                Other,
                brief,
            ),
            (
                "CreateContainerConfigError",
                r#"configmap "app" not found"#,
                Other,
                brief,
            ),
            (
                "CreateContainerConfigError",
                "couldn't find key VALUE in Secret default/aegis",
                Other,
                now,
            ),
            (
                "CreateContainerConfigError",
                "failed to sync secret cache: timed out waiting for the condition",
                Other,
                grace,
            ),
            (
                "CreateContainerConfigError",
                "container has runAsNonRoot and image will run as root",
                Rejected,
                now,
            ),
            (
                "CreateContainerConfigError",
                r#"container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root (pod: "kuard_default(6e554b4c)", container: kuard)"#,
                Rejected,
                now,
            ),
            (
                "CreateContainerError",
                "context deadline exceeded",
                Other,
                grace,
            ),
            (
                "CreateContainerError",
                "failed to mount image volume: ImageVolumeMountFailed: failed to mount image volume component",
                Crashed,
                now,
            ),
            (
                "RunContainerError",
                r#"failed to create shim task: OCI runtime create failed: exec: "/.sandbox/sandbox-sshd": permission denied"#,
                Crashed,
                now,
            ),
            (
                "RunContainerError",
                "OCI runtime create failed: exec: \"ls\": executable file not found in $PATH",
                Crashed,
                now,
            ),
            (
                "CreateContainerError",
                r#"failed to generate container "5dfb" spec: failed to apply OCI options: failed to mkdir "": mkdir : no such file or directory"#,
                Crashed,
                now,
            ),
            (
                "RunContainerError",
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                 failed: unable to start container process: container init was OOM-killed (memory limit too low?): unknown",
                Crashed,
                now,
            ),
            (
                "CreateContainerError",
                r#"failed to reserve container name "sandbox_sbx-a_ns_1_0": name "sandbox_sbx-a_ns_1_0" is reserved for "5dfb""#,
                Other,
                grace,
            ),
            (
                "CrashLoopBackOff",
                "back-off 10s restarting failed container=x",
                Crashed,
                now,
            ),
            ("SomethingNew", "in a later version", Other, grace),
        ] {
            let found = judge(reason, message).unwrap();
            assert_eq!(
                (found.reason, found.wait_limit),
                (kind, wait_limit),
                "{reason}: {message}"
            );
            assert!(found.message.contains(message) && !found.message.is_empty());
        }
        for reason in ["", "ContainerCreating", "PodInitializing"] {
            assert_eq!(judge(reason, ""), None);
        }
    }

    #[test]
    fn a_pod_without_a_node_may_get_one() {
        let judge = |type_: &str, status: &str, message: &str| {
            judge_unscheduled(&PodCondition {
                type_: type_.into(),
                status: status.into(),
                reason: Some("Unschedulable".into()),
                message: Some(message.into()),
                ..PodCondition::default()
            })
        };
        let full = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No \
                    preemption victims found for incoming pod.";
        let found = judge("PodScheduled", "False", full).unwrap();
        assert_eq!(
            (found.reason, found.wait_limit),
            (CreationReason::Unschedulable, WaitLimit::Grace)
        );
        let text = &found.message;
        assert!(
            text.starts_with(full) && text.contains("request less"),
            "{text}"
        );
        let unexplained = judge("PodScheduled", "False", "").unwrap();
        assert_eq!(unexplained.message, "Unschedulable");
        assert_eq!(judge("PodScheduled", "True", ""), None);
        assert_eq!(judge("Ready", "False", full), None);
    }
}
