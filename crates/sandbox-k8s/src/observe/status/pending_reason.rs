//! Why a container does not run yet, and why a Pod has no machine.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, PodCondition};
use sandbox_core::CreationReason;

use super::image_pull;
use super::problem::{Problem, WaitLimit};

/// Judges a container that waits. `None` while all is as it should be.
pub(super) fn judge_waiting(state: &ContainerStateWaiting) -> Option<Problem> {
    let reason = state.reason.as_deref().unwrap_or_default();
    let message = state.message.as_deref().unwrap_or_default();
    let text = if message.is_empty() { reason } else { message };
    let problem = match reason {
        "" | "ContainerCreating" | "PodInitializing" => return None,
        "InvalidImageName" => Problem::fatal(CreationReason::ImagePull, text),
        "ErrImageNeverPull" => Problem::fatal(
            CreationReason::ImagePull,
            format!("{text} (the pull policy is Never, and the machine does not have the image)"),
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

/// Judges why a container's configuration is not complete.
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

/// As runc and crun say it of the process that becomes the container's first; in small letters, as all that is
/// compared with what a runtime contains_any, for they differ in that.
const TOO_LITTLE_MEMORY: [&str; 3] = [
    "container init was oom-killed",
    "unable to set memory limit to",
    "oom: the memory limit could be too low",
];

/// A program that is not there, or may not be run. crun does not name one that may not.
const ABSENT: [&str; 4] = [
    "no such file or directory",
    "executable file not found",
    "permission denied",
    "not found in $path",
];

/// The last two are containerd's before 2.1 and CRI-O's before 1.31, which are told of such a volume and take it
/// for a path of the machine; nothing else has an empty one.
const NO_IMAGE_VOLUME: [&str; 4] = [
    "failed to mount image volume",
    "imagevolumemountfailed",
    r#"failed to mkdir "": "#,
    "mount.hostpath is empty",
];

/// Judges what is told of a Pod, or of a container, whose first process did not fit into its memory.
pub(super) fn judge_memory(message: &str) -> Option<Problem> {
    let lower = message.to_ascii_lowercase();
    TOO_LITTLE_MEMORY
        .iter()
        .any(|sign| lower.contains(sign))
        .then(|| {
            let advice = "the memory limit is too low to start a program: ask for more";
            Problem::fatal(CreationReason::Crashed, format!("{message} ({advice})"))
        })
}

/// In small letters.
pub(super) const WRONG_PROCESSOR: &str = "exec format error";

/// Judges why a process could not be started; `None` for what is not known.
pub(super) fn judge_start(message: &str) -> Option<Problem> {
    // As a line of a log it has an end of line.
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
             for this machine?)"
        )));
    }
    let server = contains_any(&["sandbox-sshd", "open executable"]);
    if contains_any(&NO_IMAGE_VOLUME) {
        let advice =
            "this machine's container runtime cannot mount the SSH server's image as a volume";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({advice})"))
        })
    } else if server && contains_any(&ABSENT) {
        let advice = "the SSH server is not there, or cannot be run: if the image should hold it, it does not; if \
                      it is brought as an image volume, this cluster cannot do that (SANDBOX_INJECTION=init-container \
                      works on every cluster)";
        Some(Problem {
            server_missing: true,
            ..fatal(format!("{message} ({advice})"))
        })
    } else if contains_any(&ABSENT) {
        Some(fatal(message.to_owned()))
    } else {
        None
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
        .unwrap_or("no machine has room for it");
    let text = condition
        .message
        .as_deref()
        .filter(|text| !text.is_empty())
        .unwrap_or(reason);
    let advice = UNSCHEDULED.iter().find(|(sign, _)| text.contains(sign));
    let text = advice.map_or_else(
        || text.to_owned(),
        |(_, advice)| format!("{text} ({advice})"),
    );
    // A cluster that grows by itself may have room soon.
    Some(Problem::transient(CreationReason::Unschedulable, text))
}

/// What the scheduler complains of, and what can be done; the first is the nearest to the user.
const UNSCHEDULED: [(&str, &str); 5] = [
    (
        "persistentvolumeclaim",
        "make that claim in the sandbox's namespace, or mount another",
    ),
    (
        "match Pod's node affinity",
        "no node has the labels asked for: kubectl get nodes --show-labels",
    ),
    (
        "match node selector",
        "no node has the labels asked for: kubectl get nodes --show-labels",
    ),
    ("taint", "tolerate the taint, if those nodes are meant"),
    ("Insufficient", "ask for less, or wait until there is room"),
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
    fn only_a_server_that_cannot_be_run_asks_for_another_way() {
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
    fn a_pod_without_a_machine_may_get_one() {
        let condition = |type_: &str, status: &str, message: &str| PodCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some("Unschedulable".into()),
            message: Some(message.into()),
            ..PodCondition::default()
        };
        let full = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No \
                    preemption victims found for incoming pod.";
        let found = judge_unscheduled(&condition("PodScheduled", "False", full)).unwrap();
        assert_eq!(
            (found.reason, found.wait_limit),
            (CreationReason::Unschedulable, WaitLimit::Grace)
        );
        assert!(
            found.message.starts_with(full) && found.message.contains("ask for less"),
            "{}",
            found.message
        );
        assert_eq!(
            judge_unscheduled(&condition("PodScheduled", "False", ""))
                .unwrap()
                .message,
            "Unschedulable"
        );
        assert_eq!(
            judge_unscheduled(&condition("PodScheduled", "True", "")),
            None
        );
        assert_eq!(judge_unscheduled(&condition("Ready", "False", full)), None);
    }
}
