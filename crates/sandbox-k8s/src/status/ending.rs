//! Why a Pod has ended.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodStatus};
use sandbox_core::CreationReason;

use super::{Trouble, reason};

/// Judges what Kubernetes itself says of the whole Pod; `None` when it ended by itself.
pub(super) fn pod(status: &PodStatus) -> Option<Trouble> {
    let reason = status.reason.as_deref().unwrap_or_default();
    let message = status
        .message
        .as_deref()
        .filter(|message| !message.is_empty());
    let disruption = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True");
    let said = message.or_else(|| disruption.and_then(|condition| condition.message.as_deref()));
    let sentence =
        |what: &str| said.map_or_else(|| what.to_owned(), |said| format!("{what}: {said}"));
    match reason {
        "DeadlineExceeded" => Some(Trouble::last(
            CreationReason::Timeout,
            "the Pod reached its hard end (max_lifetime, kept by Kubernetes)",
        )),
        "Evicted" => Some(Trouble::last(
            CreationReason::Evicted,
            sentence("the Pod was evicted"),
        )),
        _ if is_no_room(reason) => Some(Trouble::last(
            CreationReason::Unschedulable,
            sentence("the machine that was chosen refused the Pod"),
        )),
        _ if REFUSALS.contains(&reason) => Some(Trouble::last(
            CreationReason::Rejected,
            sentence("the machine refused the Pod"),
        )),
        "Preempting" | "Preempted" => Some(Trouble::last(
            CreationReason::Evicted,
            sentence("the Pod made way for one of higher priority"),
        )),
        "NodeLost" | "Shutdown" | "NodeShutdown" | "Terminated" => Some(Trouble::last(
            CreationReason::Evicted,
            sentence("the Pod's machine is gone, or shutting down"),
        )),
        _ => disruption.map(|condition| {
            let what = match condition.reason.as_deref().unwrap_or_default() {
                "PreemptionByScheduler" => "the Pod made way for one of higher priority",
                "EvictionByEvictionAPI" => "the Pod was evicted",
                "DeletionByTaintManager" => "the Pod's machine cannot be reached or was tainted",
                "DeletionByPodGC" => "the Pod's machine is gone",
                "TerminationByKubelet" => "the Pod was ended by its machine",
                _ => "the Pod was disrupted",
            };
            Trouble::last(CreationReason::Evicted, sentence(what))
        }),
    }
}

/// Why kubelets refuse a Pod that they have room for; newer ones may have more, see [`unexplained`].
const REFUSALS: [&str; 7] = [
    "UnexpectedAdmissionError",
    "AppArmor",
    "SysctlForbidden",
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "SupplementalGroupsPolicyNotSupported",
    "InvalidNodeInfo",
];

/// A kubelet that was sent one Pod too many, or the wrong one. `OutOf` is followed by any resource, such as
/// `cpu` or `nvidia.com/gpu`.
fn is_no_room(reason: &str) -> bool {
    let affinity = [
        "NodeAffinity",
        "NodeSelectorMismatching",
        "TopologyAffinityError",
    ];
    reason.starts_with("OutOf") || affinity.contains(&reason)
}

/// What can be said of a Pod that has ended before our container began: which other container
/// was at fault, or why its machine would not have it.
pub(super) fn unexplained(status: &PodStatus) -> Trouble {
    let others = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let failed =
        others.filter_map(|other| Some((&other.name, other.state.as_ref()?.terminated.as_ref()?)));
    let mut said = failed
        .filter(|(_, ended)| ended.exit_code != 0)
        .map(|(name, ended)| {
            format!(
                "its container {name} ended with exit code {}",
                ended.exit_code
            )
        });
    if let Some(said) = said.next_back() {
        return Trouble::last(
            CreationReason::Crashed,
            format!("the Pod has ended: {said}"),
        );
    }
    // Kubelets have more reasons with each version, and end no Pod without its containers for anything else.
    let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (present(&status.reason), present(&status.message)) {
        (Some(reason), said) => {
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            Trouble::last(
                CreationReason::Rejected,
                format!("the machine refused the Pod: {reason}{said}"),
            )
        }
        (None, said) => {
            let said = said.unwrap_or_else(|| "Kubernetes does not say why".into());
            Trouble::last(
                CreationReason::Crashed,
                format!("the Pod has ended: {said}"),
            )
        }
    }
}

/// Judges how our container ended. Its own last words are not in the message: they are kept as
/// the end of its log.
pub(super) fn container(state: &ContainerStateTerminated, memory: Option<&str>) -> Trouble {
    let words = state.message.as_deref().unwrap_or_default().trim_end();
    let crashed = |message: String| Trouble::last(CreationReason::Crashed, message);
    let code = state.exit_code;
    match state.reason.as_deref().unwrap_or_default() {
        "OOMKilled" => crashed(match memory {
            Some(limit) => format!("it was killed for using more memory than its limit of {limit}"),
            None => "it was killed for using more memory than the machine had".into(),
        }),
        "StartError" | "ContainerCannotRun" => reason::start(words)
            .unwrap_or_else(|| crashed(format!("its server could not be started: {words}"))),
        // The runtime says nothing else of a program that the kernel cannot run.
        _ if words.to_ascii_lowercase().contains(reason::WRONG_PROCESSOR) => {
            reason::start(words).unwrap_or_else(|| crashed(words.to_owned()))
        }
        _ if code == 0 => crashed(
            "its server ended by itself (exit code 0), as it does at the end of a lifetime".into(),
        ),
        "ContainerStatusUnknown" => crashed("its machine lost track of it".into()),
        _ if (129..=192).contains(&code) => {
            crashed(format!("its server was killed by signal {}", code - 128))
        }
        _ => crashed(format!("its server ended with exit code {code}")),
    }
}

/// The same of an image's own server, which keeps no lifetime.
pub(super) fn image_server(state: &ContainerStateTerminated, memory: Option<&str>) -> Trouble {
    if state.exit_code != 0 || state.reason.as_deref() == Some("OOMKilled") {
        return container(state, memory);
    }
    let message = "the image's own command has ended (exit code 0): with SANDBOX_INJECTION=image it has to be an SSH \
                   server that stays in the foreground";
    Trouble::last(CreationReason::Crashed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_kubernetes_says_of_the_pod() {
        let low = "The node was low on resource: ephemeral-storage. Threshold quantity: 2146223340, available: \
                   1883424Ki. Container helmer was using 10304Ki, request is 10Mi, has larger consumption of \
                   ephemeral-storage. ";
        for (reason, message, kind, said) in [
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
            let found = pod(&status).unwrap();
            assert!(
                found.is_final() && found.reason == kind && found.message.contains(said),
                "{found:?}"
            );
        }
        let preempted = json!({"phase": "Failed", "conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod"}]});
        let found = pod(&serde_json::from_value(preempted).unwrap()).unwrap();
        assert!(
            found.message.contains("made way") && found.message.contains("higher priority pod"),
            "{found:?}"
        );
        assert_eq!(
            pod(&serde_json::from_value(json!({"phase": "Failed"})).unwrap()),
            None
        );
    }

    #[test]
    fn how_our_container_ended() {
        let runc = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc \
                    create failed: unable to start container process: error during container init: exec: ";
        let no_server = format!(
            "{runc}\"/.sandbox/sandbox-sshd\": stat /.sandbox/sandbox-sshd: no such file or directory: unknown"
        );
        let denied = format!("{runc}\"/.sandbox/sandbox-sshd\": permission denied");
        for (ended, memory, said, server_missing) in [
            (
                json!({"exitCode": 137, "reason": "OOMKilled"}),
                Some("512Mi"),
                "limit of 512Mi",
                false,
            ),
            (
                json!({"exitCode": 137, "reason": "OOMKilled"}),
                None,
                "than the machine had",
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
                json!({"exitCode": 0, "reason": "Completed"}),
                None,
                "lifetime",
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
                "ask for more",
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
            let found = container(&serde_json::from_value(ended.clone()).unwrap(), memory);
            assert!(
                found.is_final() && found.reason == CreationReason::Crashed,
                "{ended}"
            );
            assert!(found.message.contains(said), "{ended}: {}", found.message);
            assert!(!found.message.contains('\n'), "{ended}: {}", found.message);
            assert_eq!(found.server_missing, server_missing, "{ended}");
        }
    }

    #[test]
    fn an_image_without_a_server_is_told_from_a_lifetime_that_is_over() {
        for (ended, said) in [
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
            let found = image_server(&serde_json::from_value(ended).unwrap(), Some("512Mi"));
            assert!(
                found.is_final() && found.message.contains(said),
                "{found:?}"
            );
        }
    }

    #[test]
    fn another_container_is_named() {
        let status = json!({"phase": "Failed", "initContainerStatuses": [{
            "name": "istio-init", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 255}}}]});
        let found = unexplained(&serde_json::from_value(status).unwrap());
        assert_eq!(
            found.message,
            "the Pod has ended: its container istio-init ended with exit code 255"
        );
        assert!(
            unexplained(&PodStatus::default())
                .message
                .contains("does not say why")
        );
        let status =
            json!({"phase": "Failed", "reason": "OfALaterVersion", "message": "Pod was rejected"});
        let found = unexplained(&serde_json::from_value(status).unwrap());
        assert_eq!(found.reason, CreationReason::Rejected);
        assert_eq!(
            found.message,
            "the machine refused the Pod: OfALaterVersion: Pod was rejected"
        );
    }
}
