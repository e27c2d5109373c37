//! Judges why a container does not run yet, and why a Pod is not scheduled.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, PodCondition};
use sandbox_core::CreationReason;

use super::image_pull;
use super::problem::{Problem, WaitLimit};

/// Judges a waiting container; `None` if that is normal.
pub(super) fn judge_waiting(state: &ContainerStateWaiting) -> Option<Problem> {
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

/// Messages of runc and crun about the process that becomes the container's first. All signs that are
/// compared with a runtime's message are in lower case, because runtimes differ in that.
const TOO_LITTLE_MEMORY: [&str; 4] = [
    "container init was oom-killed",
    ": cannot allocate memory",
    "unable to set memory limit to",
    "oom: the memory limit could be too low",
];

/// A program that does not exist, or may not be run. crun does not name one that may not.
const ABSENT: [&str; 4] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "not found in $path",
];

/// The last two are from containerd before 2.1 and CRI-O before 1.31, which take an image volume for a
/// path of the node; nothing else has an empty path.
const NO_IMAGE_VOLUME: [&str; 4] = [
    "failed to mount image volume",
    "imagevolumemountfailed",
    r#"failed to mkdir "": "#,
    "mount.hostpath is empty",
];

/// Judges the message of a Pod or container whose first process did not fit into its memory.
pub(super) fn judge_memory(message: &str) -> Option<Problem> {
    let lower = message.to_ascii_lowercase();
    TOO_LITTLE_MEMORY
        .iter()
        .any(|sign| lower.contains(sign))
        .then(|| {
            let hint = "the memory limit is too low to start a program: raise it";
            Problem::fatal(CreationReason::Crashed, format!("{message} ({hint})"))
        })
}

/// The message about a program for another processor, in lower case.
pub(super) const WRONG_PROCESSOR: &str = "exec format error";

/// Judges why a process could not be started; `None` for an unknown message.
pub(super) fn judge_start(message: &str) -> Option<Problem> {
    // A message from a log ends with a line feed.
    let message = message.trim();
    let lower = message.to_ascii_lowercase();
    let fatal = |text| Problem::fatal(CreationReason::Crashed, text);
    let contains_any = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    if let Some(problem) = judge_memory(message) {
        return Some(problem);
    }
    if contains_any(&[WRONG_PROCESSOR]) {
        return Some(fatal(format!(
            "{message} (a program for another processor architecture: is the image, or the server's image, built \
             for this node?)"
        )));
    }
    let server = contains_any(&["sandbox-sshd", "open executable"]);
    if contains_any(&NO_IMAGE_VOLUME) {
        let hint = "this node's container runtime cannot mount the SSH server's image as a volume";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({hint})"))
        })
    } else if server && contains_any(&ABSENT) {
        let hint = "the SSH server does not exist or cannot be run: the image that should hold it does not, or this \
                      cluster cannot run it from an image volume (SANDBOX_INJECTION=init-container works on every \
                      cluster)";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({hint})"))
        })
    } else {
        contains_any(&ABSENT).then(|| fatal(message.to_owned()))
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
    fn only_a_server_that_cannot_be_run_calls_for_another_injection() {
        for (message, missing) in [
            (
                r#"failed to mount image volume: ImageVolumeMountFailed: mount source: "overlay""#,
                true,
            ),
            (
                r#"exec: "/.sandbox/sandbox-sshd": stat /.sandbox/sandbox-sshd: no such file or directory"#,
                true,
            ),
            (
                r#"failed to generate container "5dfb" spec: failed to generate spec: failed to mkdir "": mkdir : no such file or directory"#,
                true,
            ),
            (
                "executable file `/.sandbox/sandbox-sshd` not found in $PATH: No such file or directory",
                true,
            ),
            ("open executable: Permission denied", true),
            ("error: mount.HostPath is empty", true),
            (
                "executable file `python4` not found in $PATH: No such file or directory",
                false,
            ),
            (
                "exec container process `/.sandbox/sandbox-sshd`: Exec format error",
                false,
            ),
            (
                r#"failed to mkdir "/var/lib/x": mkdir /var/lib/x: no such file or directory"#,
                false,
            ),
            (r#"exec: "/bin/other": no such file or directory"#, false),
            ("exec /.sandbox/sandbox-sshd: exec format error", false),
        ] {
            assert_eq!(
                judge_start(message).unwrap().server_missing,
                missing,
                "{message}"
            );
        }
        assert_eq!(judge_start("context deadline exceeded"), None);
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
