//! Finds the problem in a Pod's status that explains most.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use sandbox_core::CreationReason;

use super::problem::{INIT_CONTAINER, Problem, WaitLimit};
use super::{end_reason, pending_reason};
use crate::names::SERVER;

/// Names the image that a message is about.
const SERVER_IMAGE: &str = "that is the server's image, SANDBOX_SERVER_IMAGE";

/// Facts about the sandbox besides its Pod's status.
pub(super) struct PodFacts<'a> {
    /// The status of the sandbox's container.
    pub(super) main_status: Option<&'a ContainerStatus>,
    /// Whether the container or its Pod has ended.
    pub(super) ended: bool,
    pub(super) limits: &'a [(String, String)],
    /// Whether the server is sandbox-sshd, and not an image sshd.
    pub(super) is_sandbox_sshd: bool,
    /// The image with sandbox-sshd, if it is mounted as a volume.
    pub(super) server_volume: Option<&'a str>,
}

/// Finds the problem that explains most, in this order: what Kubernetes reports about the Pod, the
/// init container that installs sandbox-sshd, the sandbox's container, and the init containers that
/// others, such as meshes, have added before it.
pub(super) fn find_problem(status: &PodStatus, facts: &PodFacts<'_>) -> Option<Problem> {
    let PodFacts {
        main_status,
        ended,
        limits,
        is_sandbox_sshd,
        server_volume,
    } = *facts;
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
            "the SSH server could not be installed: {} ({SERVER_IMAGE})",
            problem.message
        );
        // An init container works on every cluster, so no other injection would help with such an image.
        problem.server_missing = false;
        return Some(problem.of_container(SERVER));
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
        return Some(if is_sandbox_sshd {
            end_reason::judge_server(ended, memory)
        } else {
            end_reason::judge_image_sshd(ended, memory)
        });
    }
    if let Some(mut problem) =
        state.and_then(|state| pending_reason::judge_waiting(state.waiting.as_ref()?))
    {
        // The images of volumes are pulled for the container that mounts them.
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

/// Finds an init container of others that cannot start, for the sandbox's container waits for it.
fn init_container_problem(status: &PodStatus) -> Option<Problem> {
    let others = status
        .init_container_statuses
        .iter()
        .flatten()
        .filter(|other| other.name != SERVER);
    others.into_iter().find_map(|other| {
        let problem = pending_reason::judge_waiting(other.state.as_ref()?.waiting.as_ref()?)?;
        let message = format!("{INIT_CONTAINER}{}: {}", other.name, problem.message);
        // One that restarts repeatedly, as a sidecar may, is not final for Kubernetes either.
        let wait_limit = match problem.reason {
            CreationReason::ImagePull => problem.wait_limit,
            _ => WaitLimit::Grace,
        };
        Some(Problem {
            message,
            wait_limit,
            server_missing: false,
            container: Some(other.name.clone()),
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
