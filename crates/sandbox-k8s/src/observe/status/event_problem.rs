//! Problems that the cluster's events explain better than the Pod's status.

use sandbox_core::{CreationReason, SandboxEvent, SandboxEventKind};

use super::problem::{Problem, is_vague};
use super::{image_pull, start_failure};
use crate::names::SERVER;

/// Returns the problem of a Pod that does not start, if its events are more specific than its
/// status. Only events report a volume that cannot be mounted, and a kubelet in back-off of an
/// image pull no longer reports the cause.
pub(crate) fn problem_from_events(
    problem: Option<&Problem>,
    events: &[SandboxEvent],
) -> Option<Problem> {
    if problem.is_some_and(|problem| !problem.is_vague()) {
        return None;
    }
    let warnings = events
        .iter()
        .rev()
        .filter(|event| event.kind == SandboxEventKind::Warning);
    let message = warnings
        .map(|event| event.message.as_str())
        .find(|message| !is_vague(message))?;
    match problem {
        Some(problem) if problem.reason != CreationReason::ImagePull => None,
        Some(_) => Some(image_pull::judge_pull(message)),
        None => Some(judge_warning(message)),
    }
}

/// The problem of a Pod with a volume whose source, such as `secret "s"`, does not exist.
pub(crate) fn missing_source_problem(source: &str) -> Problem {
    not_startable(&format!("{source} not found{CREATE_SOURCE}"))
}

/// What to do about a missing source of a volume.
const CREATE_SOURCE: &str = " (create it in the sandbox's namespace, or remove the volume)";

fn not_startable(message: &str) -> Problem {
    Problem::transient(
        CreationReason::Other,
        format!("its container cannot be started yet: {message}"),
    )
}

/// The message of a kubelet without the feature gate `ImageVolume`, below an API server that has it.
const NO_PLUGIN: &str = "no volume plugin matched";

fn judge_warning(message: &str) -> Problem {
    if message.contains(NO_PLUGIN) && message.contains(SERVER) {
        let hint = "this node's kubelet cannot mount the SSH server's image as a volume";
        let problem = Problem::fatal(CreationReason::Crashed, format!("{message} ({hint})"));
        return Problem {
            server_missing: true,
            ..problem
        };
    }
    if let Some(problem) = start_failure::judge_memory(message) {
        return problem;
    }
    let transient = |hint: &str| not_startable(&format!("{message}{hint}"));
    let is_volume = message.contains("MountVolume") || message.contains("AttachVolume");
    if is_volume && message.contains("not found") {
        transient(CREATE_SOURCE)
    } else {
        transient("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::problem::WaitLimit;
    use std::time::SystemTime;

    fn warnings(messages: &[&str]) -> Vec<SandboxEvent> {
        let event = |kind, message: &&str| SandboxEvent {
            at: SystemTime::UNIX_EPOCH,
            kind,
            message: (*message).to_owned(),
        };
        let mut events: Vec<_> = messages
            .iter()
            .map(|message| event(SandboxEventKind::Warning, message))
            .collect();
        events.push(event(SandboxEventKind::Pulling, &"Pulling image"));
        events
    }

    /// The messages of Kubernetes 1.20's and 1.33's kubelets.
    #[test]
    fn events_are_more_specific_than_the_status() {
        let configmap = r#"MountVolume.SetUp failed for volume "v" : configmap "none" not found"#;
        let secret = r#"MountVolume.SetUp failed for volume "v" : secret "none" not found"#;
        let pull = "Failed to pull image \"localhost/none:1\": rpc error: code = Unknown desc = failed to do \
                    request: Head \"http://localhost/v2/none/manifests/1\": dial tcp 127.0.0.1:80: connect: \
                    connection refused";
        let absent =
            "Failed to pull image \"x:1\": rpc error: code = NotFound desc = x:1: not found";
        let waits = Problem::transient(
            CreationReason::ImagePull,
            "Back-off pulling image \"localhost/none:1\"",
        );
        let vague = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[v]: timed out \
             waiting for the condition";
        let skewed = "Unable to attach or mount volumes: unmounted volumes=[sandbox-server], unattached volumes=[], \
             failed to process volumes=[sandbox-server]: failed to get Plugin from volumeSpec for volume \
             \"sandbox-server\" err=no volume plugin matched";
        let small = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to create containerd task: \
             OCI runtime create failed: container init was OOM-killed (memory limit too low?): unknown";
        let tiny = "Failed to create pod sandbox: rpc error: code = Unknown desc = failed to create containerd task: \
             runc create failed: unable to start container process: unable to apply cgroup configuration: mkdir \
             /sys/fs/cgroup/memory/kubepods/pod0/490: cannot allocate memory: unknown";
        let no_driver = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to \
             process volumes=[v]: driver name csi.example not found in the list of registered CSI drivers";
        for (problem, messages, expected) in [
            (
                None,
                vec![configmap],
                Some(("\"none\" not found (create it", WaitLimit::Grace)),
            ),
            (
                None,
                vec![secret, vague],
                Some(("\"none\" not found (create it", WaitLimit::Grace)),
            ),
            (None, vec![vague], None),
            (None, vec![], None),
            (None, vec![small], Some(("raise it", WaitLimit::None))),
            (None, vec![tiny], Some(("raise it", WaitLimit::None))),
            (
                None,
                vec![skewed],
                Some(("kubelet cannot mount", WaitLimit::None)),
            ),
            (
                None,
                vec![no_driver, vague],
                Some(("not found in the list", WaitLimit::Grace)),
            ),
            (
                None,
                vec!["failed to get sandbox image \"pause\""],
                Some(("cannot be started yet", WaitLimit::Grace)),
            ),
            (
                Some(&waits),
                vec![pull, "Error: ErrImagePull", "Error: ImagePullBackOff"],
                Some(("connection refused", WaitLimit::Grace)),
            ),
            (
                Some(&waits),
                vec![absent],
                Some(("check its name", WaitLimit::None)),
            ),
            (Some(&waits), vec!["Error: ImagePullBackOff"], None),
        ] {
            let found = problem_from_events(problem, &warnings(&messages));
            assert_eq!(found.is_some(), expected.is_some(), "{messages:?}");
            if let (Some(found), Some((expected, wait_limit))) = (found, expected) {
                assert!(found.message.contains(expected), "{}", found.message);
                assert_eq!(found.wait_limit, wait_limit, "{messages:?}");
                assert_eq!(found.server_missing, messages == [skewed]);
            }
        }
        let whole = r#"Back-off pulling image "x:y": ErrImagePull: rpc error: code = Unknown desc = broken"#;
        let repeated = Problem::transient(CreationReason::ImagePull, whole);
        assert_eq!(
            problem_from_events(Some(&repeated), &warnings(&[pull])),
            None
        );
        let clear = Problem::fatal(CreationReason::ImagePull, "not found");
        assert_eq!(
            problem_from_events(Some(&clear), &warnings(&[configmap])),
            None
        );
    }
}
