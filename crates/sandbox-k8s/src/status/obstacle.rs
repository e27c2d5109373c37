//! Which of all that a Pod's status says stands in its way.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::{Trouble, ending, reason};
use crate::pod::SERVER;

/// Which image it is about.
const SERVER_IMAGE: &str = "that is the server's image, SANDBOX_SERVER_IMAGE";

/// Whichever container's state explains most: what Kubernetes says of the Pod, the first
/// container that brings the server, then the sandbox itself. Others, as meshes add them, are
/// not ours to judge.
pub(super) fn obstacle(
    status: &PodStatus,
    ours: Option<&ContainerStatus>,
    over: bool,
    limits: &[(String, String)],
    our_server: bool,
) -> Option<Trouble> {
    if over && let Some(ended) = ending::pod(status) {
        return Some(ended);
    }
    let copier = named(&status.init_container_statuses, SERVER).and_then(|copier| copier.state.as_ref());
    if let Some(failed) =
        copier.and_then(|state| state.terminated.as_ref()).filter(|ended| ended.exit_code != 0)
    {
        let mut trouble = ending::container(failed, None);
        trouble.message =
            format!("the SSH server could not be brought in: {} ({SERVER_IMAGE})", trouble.message);
        // This is the way that always works; no other would do better with such an image.
        trouble.server_missing = false;
        return Some(trouble);
    }
    if let Some(trouble) = copier.and_then(|state| reason::waiting(state.waiting.as_ref()?)) {
        let message = format!("{} ({SERVER_IMAGE})", trouble.message);
        return Some(Trouble { message, server_missing: false, ..trouble });
    }
    let state = ours.and_then(|ours| ours.state.as_ref());
    let memory = limits.iter().find_map(|(name, value)| (name == "memory").then_some(value.as_str()));
    if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        return Some(match our_server {
            true => ending::container(ended, memory),
            false => ending::image_server(ended, memory),
        });
    }
    if let Some(trouble) = state.and_then(|state| reason::waiting(state.waiting.as_ref()?)) {
        return Some(trouble);
    }
    if over {
        return Some(ending::unexplained(status));
    }
    status.conditions.iter().flatten().find_map(reason::unscheduled)
}

pub(super) fn named<'a>(
    statuses: &'a Option<Vec<ContainerStatus>>,
    name: &str,
) -> Option<&'a ContainerStatus> {
    statuses.iter().flatten().find(|status| status.name == name)
}
