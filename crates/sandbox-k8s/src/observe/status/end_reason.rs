//! Judges why a Pod or its container has ended.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodStatus};
use sandbox_core::protocol::EndReason;
use sandbox_core::{CreationReason, EndCause};

use super::problem::Problem;
use super::start_failure;

/// Judges what Kubernetes reports about the whole Pod; `None` if it ended by itself.
pub(super) fn judge_pod(status: &PodStatus) -> Option<Problem> {
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
    let detail = message.or_else(|| disruption.and_then(|condition| condition.message.as_deref()));
    let sentence =
        |what: &str| detail.map_or_else(|| what.to_owned(), |detail| format!("{what}: {detail}"));
    match reason {
        "DeadlineExceeded" => Some(Problem::ended(
            EndCause::Lifetime,
            "the Pod reached max_lifetime (activeDeadlineSeconds)",
        )),
        "Evicted" => Some(Problem::fatal(
            CreationReason::Evicted,
            sentence("the Pod was evicted"),
        )),
        _ if is_lack_of_room(reason) => Some(Problem::fatal(
            CreationReason::Unschedulable,
            sentence("the scheduled node refused the Pod"),
        )),
        _ if REFUSALS.contains(&reason) => Some(Problem::fatal(
            CreationReason::Rejected,
            sentence("the node refused the Pod"),
        )),
        "Preempting" | "Preempted" => Some(Problem::fatal(
            CreationReason::Evicted,
            sentence("the Pod was preempted by one of higher priority"),
        )),
        "NodeLost" | "Shutdown" | "NodeShutdown" | "Terminated" => Some(Problem::fatal(
            CreationReason::Evicted,
            sentence("the Pod's node is lost or shutting down"),
        )),
        _ => disruption.map(|condition| {
            let what = match condition.reason.as_deref().unwrap_or_default() {
                "PreemptionByScheduler" => "the Pod was preempted by one of higher priority",
                "EvictionByEvictionAPI" => "the Pod was evicted",
                "DeletionByTaintManager" => "the Pod's node cannot be reached or was tainted",
                "DeletionByPodGC" => "the Pod's node does not exist any more",
                "TerminationByKubelet" => "the Pod was ended by its node",
                _ => "the Pod was disrupted",
            };
            Problem::fatal(CreationReason::Evicted, sentence(what))
        }),
    }
}

/// The reasons for which kubelets refuse a Pod that they have room for. Later versions may have more;
/// see [`judge_unexplained`].
const REFUSALS: [&str; 7] = [
    "UnexpectedAdmissionError",
    "AppArmor",
    "SysctlForbidden",
    "PodOSNotSupported",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "SupplementalGroupsPolicyNotSupported",
    "InvalidNodeInfo",
];

/// Whether the kubelet was assigned one Pod too many, or the wrong one. `OutOf` is followed by any
/// resource, such as `cpu` or `nvidia.com/gpu`.
fn is_lack_of_room(reason: &str) -> bool {
    let affinity = [
        "NodeAffinity",
        "NodeSelectorMismatching",
        "TopologyAffinityError",
    ];
    reason.starts_with("OutOf") || affinity.contains(&reason)
}

/// Judges a Pod that ended before the sandbox's container started: either another container failed, or
/// the node refused it.
pub(super) fn judge_unexplained(status: &PodStatus) -> Problem {
    let others = status
        .init_container_statuses
        .iter()
        .chain(&status.container_statuses)
        .flatten();
    let failed =
        others.filter_map(|other| Some((&other.name, other.state.as_ref()?.terminated.as_ref()?)));
    let mut failed = failed.filter(|(_, ended)| ended.exit_code != 0);
    if let Some((name, ended)) = failed.next_back() {
        let code = ended.exit_code;
        let message =
            format!("the Pod has ended: its container {name} ended with exit code {code}");
        return Problem::fatal(CreationReason::Crashed, message).of_container(name);
    }
    // Kubelets gain reasons with each version. If no container failed, the kubelet refused the Pod.
    let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (present(&status.reason), present(&status.message)) {
        (Some(reason), detail) => {
            let detail = detail
                .map(|detail| format!(": {detail}"))
                .unwrap_or_default();
            Problem::fatal(
                CreationReason::Rejected,
                format!("the node refused the Pod: {reason}{detail}"),
            )
        }
        (None, detail) => {
            let detail = detail.unwrap_or_else(|| "Kubernetes reports no reason".into());
            Problem::fatal(
                CreationReason::Crashed,
                format!("the Pod has ended: {detail}"),
            )
            .unexplained()
        }
    }
}

/// Judges how sandbox-sshd ended, by its exit code.
pub(super) fn judge_server(state: &ContainerStateTerminated, memory: Option<&str>) -> Problem {
    let message = state.message.as_deref().unwrap_or_default();
    let was_run = !matches!(
        state.reason.as_deref(),
        Some("OOMKilled" | "StartError" | "ContainerCannotRun" | "ContainerStatusUnknown")
    );
    let reason = EndReason::from_exit(state.exit_code, message).filter(|_| was_run);
    match reason {
        // What the kubelet sends a signal for is in the status of the Pod, or in its events.
        Some(EndReason::Terminated) => {
            let code = state.exit_code;
            let message = format!("its server was ended from outside (exit code {code})");
            Problem::ended(EndCause::Stopped, message).unexplained()
        }
        Some(reason) => Problem::ended(reason.into(), reason.message()),
        None => judge_container(state, memory),
    }
}

/// Judges how a container ended. Its own output is not in the message: it is reported as
/// the end of its log.
pub(super) fn judge_container(state: &ContainerStateTerminated, memory: Option<&str>) -> Problem {
    let output = state.message.as_deref().unwrap_or_default().trim_end();
    let crashed = |message: String| Problem::fatal(CreationReason::Crashed, message);
    let code = state.exit_code;
    match state.reason.as_deref().unwrap_or_default() {
        "OOMKilled" => crashed(match memory {
            Some(limit) => format!("it was killed for using more memory than its limit of {limit}"),
            None => "it was killed for using more memory than the node had".into(),
        }),
        "StartError" | "ContainerCannotRun" => start_failure::judge_start(output)
            .unwrap_or_else(|| crashed(format!("its server could not be started: {output}"))),
        // The output is all that is reported about a program for another processor.
        _ if output
            .to_ascii_lowercase()
            .contains(start_failure::WRONG_PROCESSOR) =>
        {
            start_failure::judge_start(output).unwrap_or_else(|| crashed(output.to_owned()))
        }
        // sandbox-sshd of a version that does not report the reason, which may be an eviction.
        _ if code == 0 => Problem::ended(
            EndCause::Stopped,
            "its server ended by itself (exit code 0), as it does at the end of a lifetime",
        )
        .unexplained(),
        "ContainerStatusUnknown" => {
            crashed("the node lost track of the container".into()).unexplained()
        }
        _ if (129..=192).contains(&code) => {
            crashed(format!("its server was killed by signal {}", code - 128)).unexplained()
        }
        _ => crashed(format!("its server ended with exit code {code}")),
    }
}

/// Judges how a container with an image sshd ended, which does not apply lifetimes.
pub(super) fn judge_image_sshd(state: &ContainerStateTerminated, memory: Option<&str>) -> Problem {
    if state.exit_code != 0 || state.reason.as_deref() == Some("OOMKilled") {
        return judge_container(state, memory);
    }
    let message = "the image's own command has ended (exit code 0): with SANDBOX_INJECTION=image it has to be an SSH \
                   server that stays in the foreground";
    Problem::fatal(CreationReason::Crashed, message)
}

#[cfg(test)]
mod tests;
