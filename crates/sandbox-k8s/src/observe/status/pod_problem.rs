//! Which of all that a Pod's status says stands in its way.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use sandbox_core::CreationReason;

use super::problem::{Problem, WaitLimit};
use super::{end_reason, pending_reason};
use crate::names::SERVER;

/// Which image it is about.
const SERVER_IMAGE: &str = "that is the server's image, SANDBOX_SERVER_IMAGE";

/// What is known of the sandbox besides its Pod's status.
pub(super) struct PodFacts<'a> {
    /// Our container, as the status has it.
    pub(super) main_status: Option<&'a ContainerStatus>,
    /// It has ended, or its Pod has.
    pub(super) ended: bool,
    pub(super) limits: &'a [(String, String)],
    /// Whether it is main_status that serves, and not the image's own.
    pub(super) is_sandbox_sshd: bool,
    /// The image with our server, where it is mounted as a volume.
    pub(super) server_volume: Option<&'a str>,
}

/// Whichever container's state explains most: what Kubernetes says of the Pod, the first
/// container that brings the server, the sandbox itself, then first containers that others, such as
/// meshes, have put before it.
pub(super) fn find_problem(status: &PodStatus, expected: &PodFacts<'_>) -> Option<Problem> {
    let PodFacts {
        main_status,
        ended,
        limits,
        is_sandbox_sshd,
        server_volume,
    } = *expected;
    if ended && let Some(ended) = end_reason::judge_pod(status) {
        return Some(ended);
    }
    let installer = find_container(&status.init_container_statuses, SERVER)
        .and_then(|installer| installer.state.as_ref());
    if let Some(failed) = installer
        .and_then(|state| state.terminated.as_ref())
        .filter(|ended| ended.exit_code != 0)
    {
        let mut problem = end_reason::judge_container(failed, None);
        problem.message = format!(
            "the SSH server could not be brought in: {} ({SERVER_IMAGE})",
            problem.message
        );
        // This is the way that always works; no other would do better with such an image.
        problem.server_missing = false;
        return Some(problem);
    }
    if let Some(problem) =
        installer.and_then(|state| pending_reason::judge_waiting(state.waiting.as_ref()?))
    {
        let message = format!("{} ({SERVER_IMAGE})", problem.message);
        return Some(Problem {
            message,
            server_missing: false,
            ..problem
        });
    }
    let state = main_status.and_then(|main_status| main_status.state.as_ref());
    let memory = limits
        .iter()
        .find_map(|(name, value)| (name == "memory").then_some(value.as_str()));
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return Some(match is_sandbox_sshd {
            true => end_reason::judge_container(ended, memory),
            false => end_reason::judge_image_sshd(ended, memory),
        });
    }
    if let Some(mut problem) =
        state.and_then(|state| pending_reason::judge_waiting(state.waiting.as_ref()?))
    {
        // The images of volumes are fetched for the container that mounts them.
        if problem.reason == CreationReason::ImagePull
            && server_volume.is_some_and(|image| problem.message.contains(image))
        {
            problem.message = format!("{} ({SERVER_IMAGE})", problem.message);
        }
        return Some(problem);
    }
    if ended {
        return Some(end_reason::judge_unexplained(status));
    }
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find_map(pending_reason::judge_unscheduled);
    let waits_for_others = state.is_none_or(|state| state.running.is_none());
    unscheduled.or_else(|| init_container_problem(status).filter(|_| waits_for_others))
}

/// A first container that somebody else added and that cannot begin: ours waits for it.
fn init_container_problem(status: &PodStatus) -> Option<Problem> {
    let others = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|other| other.name != SERVER);
    others.into_iter().find_map(|other| {
        let problem = pending_reason::judge_waiting(other.state.as_ref()?.waiting.as_ref()?)?;
        let message = format!("its first container {}: {}", other.name, problem.message);
        // One that starts again and again, as a sidecar may, is not given up by Kubernetes either.
        let wait_limit = match problem.reason {
            CreationReason::ImagePull => problem.wait_limit,
            _ => WaitLimit::Grace,
        };
        Some(Problem {
            message,
            wait_limit,
            server_missing: false,
            ..problem
        })
    })
}

pub(super) fn find_container<'a>(
    statuses: &'a Option<Vec<ContainerStatus>>,
    name: &str,
) -> Option<&'a ContainerStatus> {
    statuses.iter().flatten().find(|status| status.name == name)
}
