//! The part of a Pod that is cached.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStatus, Pod, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sandbox_core::protocol::EndReason;
use sandbox_core::{
    AppliedLimit, EndCause, Isolation, LimitScope, OnExpiry, SandboxEnd, SandboxId, SandboxInfo,
    SandboxState, Uid,
};

use super::end_reason;
use super::pod_problem::{PodFacts, find_container, find_problem};
use super::problem::Problem;
use crate::manifest::labels::{self, Expiry, Membership, NotManaged, Ownership, SecretRef};
use crate::names::{self, CONTAINER, PORT, PORT_NAME, SERVER};

/// The state of a sandbox, read from its Pod. A whole Pod takes 5 to 15 kB, too much for thousands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// The sandbox's id.
    pub(crate) id: SandboxId,
    /// The Pod's uid.
    pub(crate) uid: Uid,
    /// The Secret that owns it.
    pub(crate) owner: SecretRef,
    /// The version of the whole Pod, for preconditions. Versions can be compared for equality only.
    pub(crate) resource_version: String,
    /// The nonce by which the creating client recognises it.
    pub(crate) nonce: Option<String>,
    /// When the API server stored it.
    pub(crate) created_at: SystemTime,
    /// Its soft and hard end.
    pub(crate) ends: Expiry,
    /// What happens at its soft end.
    pub(crate) on_expiry: OnExpiry,
    /// Whether a client has paused it.
    pub(crate) is_marked_paused: bool,
    /// Whether the creating client holds a Lease that owns it.
    pub(crate) has_lease: bool,
    /// The labels that the user gave.
    pub(crate) labels: BTreeMap<String, String>,
    /// The annotations that the user gave.
    pub(crate) annotations: BTreeMap<String, String>,
    /// What it is to the shared pool that it was created for.
    pub(crate) pool: Option<Membership>,
    /// The image of the sandbox.
    pub(crate) image: Option<String>,
    /// The login name.
    pub(crate) user: String,
    /// The host key of an image sshd, once a client has learned it.
    pub(crate) host_key: Option<String>,
    /// The port of its SSH server.
    pub(crate) port: u16,
    /// What separates it from its node, according to its Pod, as text for people.
    pub(crate) isolation: Vec<String>,
    /// Limits of the sandbox, by name.
    pub(crate) limits: Vec<(String, String)>,
    /// The node that it runs on, and since when.
    pub(crate) scheduled: Option<(String, SystemTime)>,
    /// Since when its server runs, or when it started.
    pub(crate) started_at: Option<SystemTime>,
    /// The Pod's address.
    pub(crate) address: Option<IpAddr>,
    /// Its state.
    pub(crate) state: SandboxState,
    /// Whether it is being deleted.
    pub(crate) deleting: bool,
    /// Why it does not start, or has ended.
    pub(crate) problem: Option<Problem>,
    /// The finalizers that keep the Pod although its processes have ended. Their controllers have
    /// to remove them.
    pub(crate) held_by: Vec<String>,
    /// The last output of the container that the problem is about, if the kubelet recorded it. It
    /// comes from inside the sandbox.
    pub(crate) termination_message: String,
}

impl PodView {
    /// Reads a Pod from the API server.
    ///
    /// # Errors
    ///
    /// If it is not managed by this SDK, whatever its labels are.
    pub(crate) fn from_pod(pod: &Pod) -> Result<Self, NotManaged> {
        let Ownership { id, uid, owner } = Ownership::from_pod(pod)?;
        let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
        let created_at = meta
            .creation_timestamp
            .as_ref()
            .map_or(SystemTime::UNIX_EPOCH, to_system_time);
        let main = spec.and_then(sandbox_container);
        let main_status =
            status.and_then(|status| find_container(&status.container_statuses, CONTAINER));
        let state = main_status.and_then(|main_status| main_status.state.as_ref());
        let started = state.and_then(start_time);
        let phase = status
            .and_then(|status| status.phase.as_deref())
            .unwrap_or("Pending");
        let ended = matches!(phase, "Succeeded" | "Failed")
            || state.is_some_and(|state| state.terminated.is_some());
        let deleting = meta.deletion_timestamp.is_some();
        let limits = main.map(read_limits).unwrap_or_default();
        let user = labels::annotation(meta, names::USER).unwrap_or(CONTAINER);
        let problem = status.and_then(|status| match () {
            // The exit codes of a sandbox that is being deleted are no problem.
            () if deleting => end_reason::judge_pod(status),
            () => {
                let is_sandbox_sshd = user == CONTAINER;
                let server_volume = spec.and_then(server_volume_image);
                find_problem(
                    status,
                    &PodFacts {
                        main_status,
                        ended,
                        limits: &limits,
                        is_sandbox_sshd,
                        server_volume,
                    },
                )
            }
        });
        let held_by = if deleting && ended {
            meta.finalizers.clone().unwrap_or_default()
        } else {
            Vec::new()
        };
        Ok(Self {
            id,
            uid,
            owner,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            nonce: labels::annotation(meta, names::NONCE).map(str::to_owned),
            created_at,
            ends: Expiry::from_pod(pod, created_at),
            on_expiry: labels::on_expiry(meta),
            is_marked_paused: labels::annotation(meta, names::PAUSED) == Some("true"),
            has_lease: labels::annotation(meta, names::LEASE).is_some(),
            labels: labels::user_labels(meta),
            annotations: labels::user_annotations(meta),
            pool: Membership::from_pod(pod),
            image: main.and_then(|main| main.image.clone()),
            user: user.to_owned(),
            host_key: labels::annotation(meta, names::HOST_KEY).map(str::to_owned),
            port: main.and_then(ssh_port).unwrap_or(PORT),
            isolation: super::isolation::describe(pod, main),
            scheduled: spec
                .zip(status)
                .and_then(|(spec, status)| scheduling(spec, status, created_at)),
            started_at: started.and_then(|time| time.as_ref().map(to_system_time)),
            address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
            state: match () {
                () if ended || deleting => SandboxState::Ended,
                () if state.is_some_and(|state| state.running.is_some()) => SandboxState::Running,
                () => SandboxState::Pending,
            },
            deleting,
            termination_message: read_termination_message(status, main_status, problem.as_ref()),
            held_by,
            problem,
            limits,
        })
    }

    /// Takes over the problem of a former view if this one has the same, but no longer names the cause: a kubelet
    /// that waits before its next attempt reports only that.
    pub(crate) fn recall_cause(&mut self, former: Option<&Arc<Self>>) {
        let known = former.and_then(|former| former.problem.as_ref());
        if let (Some(problem), Some(known)) = (&mut self.problem, known)
            && (problem.reason, &problem.container) == (known.reason, &known.container)
            && problem.is_vague()
            && !known.is_vague()
        {
            problem.clone_from(known);
        }
    }

    /// Returns the public description.
    pub(crate) fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: self.id.clone(),
            uid: self.uid.clone(),
            backend: names::BACKEND.into(),
            state: self.state,
            address: self.address.map(|address| address.to_string()),
            port: Some(self.port),
            user: self.user.clone(),
            home: None,
            image: self.image.clone(),
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            created_at: self.created_at,
            expires_at: Some(self.ends.soft),
            on_expiry: self.on_expiry,
            is_marked_paused: self.is_marked_paused,
            isolation: Isolation {
                kind: "pod".into(),
                applied: self.isolation.clone(),
            },
            limits: self
                .limits
                .iter()
                .map(|(name, value)| applied_limit(name, value))
                .collect(),
            pool: self.pool.as_ref().map(Membership::describe),
            end: (self.state == SandboxState::Ended).then(|| self.end(self.problem.as_ref())),
        }
    }

    /// Whether it lives on after its soft end, because it is paused then.
    pub(crate) fn outlives_soft_end(&self) -> bool {
        let pauses = match self.on_expiry {
            OnExpiry::Pause => true,
            OnExpiry::End => false,
        };
        self.is_marked_paused || pauses
    }

    /// Returns the claim that took it from its pool, if one did.
    pub(crate) fn claim(&self) -> Option<&str> {
        self.pool.as_ref()?.claim.as_deref()
    }

    /// Whether a later state in its pool is known than this view shows.
    pub(crate) fn is_before(&self, pool: &Membership) -> bool {
        self.pool.as_ref().is_none_or(|shown| pool.is_after(shown))
    }

    /// Describes the end of a sandbox that has ended, by the problem that its status or the events have, if any.
    pub(crate) fn end(&self, problem: Option<&Problem>) -> SandboxEnd {
        match problem {
            Some(problem) => SandboxEnd::new(problem.end, &problem.message),
            None if self.deleting => SandboxEnd::new(EndCause::Deleted, self.describe_deletion()),
            None => SandboxEnd::new(EndCause::Failed, "its Pod has ended"),
        }
    }

    /// Describes a deletion that has started, and what holds it up.
    pub(crate) fn describe_deletion(&self) -> String {
        match self.held_by.join(", ") {
            finalizers if finalizers.is_empty() => match &self.scheduled {
                // Kubernetes deletes a Pod whose node does not exist.
                Some((node, _)) if self.started_at.is_none() => format!(
                    "its Pod is being deleted; it was assigned to the node {node}, which has not reported a start"
                ),
                _ => "its Pod is being deleted".to_owned(),
            },
            finalizers => format!(
                "its Pod is being deleted, but the finalizer {finalizers} keeps it: the controller that added it has \
                 to remove it"
            ),
        }
    }
}

/// Reads a Pod; `None` if it has the label of managed Pods but is not managed.
pub(crate) fn managed_view(pod: &Pod) -> Option<PodView> {
    match PodView::from_pod(pod) {
        Ok(view) => Some(view),
        Err(why) => {
            tracing::debug!(k8s.pod = pod.metadata.name, %why, "ignoring an unmanaged Pod with the SDK's label");
            None
        }
    }
}

/// Returns the termination message of the container that the problem is about, unless it only says
/// in words what the exit code of sandbox-sshd says.
fn read_termination_message(
    status: Option<&PodStatus>,
    main_status: Option<&ContainerStatus>,
    problem: Option<&Problem>,
) -> String {
    let other = problem.and_then(|problem| problem.container.as_deref());
    let container = match (other, status) {
        (Some(name), Some(status)) => find_container(&status.init_container_statuses, name)
            .or_else(|| find_container(&status.container_statuses, name)),
        _ => main_status,
    };
    container
        .and_then(|container| {
            container
                .state
                .as_ref()?
                .terminated
                .as_ref()?
                .message
                .clone()
        })
        .filter(|message| !EndReason::is_message(message))
        .unwrap_or_default()
}

fn sandbox_container(spec: &PodSpec) -> Option<&Container> {
    spec.containers
        .iter()
        .find(|container| container.name == CONTAINER)
}

/// Returns the image with sandbox-sshd, if it is mounted as a volume.
fn server_volume_image(spec: &PodSpec) -> Option<&str> {
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == SERVER)?;
    volume.image.as_ref()?.reference.as_deref()
}

/// Returns when the container started; the outer `None` if it did not.
fn start_time(state: &ContainerState) -> Option<Option<Time>> {
    let running = state
        .running
        .as_ref()
        .map(|running| running.started_at.clone());
    // A container that could not be started has a start time, too: 1970.
    let ran = state.terminated.as_ref().filter(|ended| {
        !matches!(
            ended.reason.as_deref(),
            Some("StartError" | "ContainerCannotRun")
        )
    });
    let ended = || ran.map(|ended| ended.started_at.clone());
    running.or_else(ended)
}

fn scheduling(
    spec: &PodSpec,
    status: &PodStatus,
    otherwise: SystemTime,
) -> Option<(String, SystemTime)> {
    let node = spec.node_name.clone()?;
    let condition = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled");
    let since = condition.and_then(|condition| condition.last_transition_time.as_ref());
    Some((node, since.map_or(otherwise, to_system_time)))
}

fn ssh_port(main: &Container) -> Option<u16> {
    let ports = main.ports.iter().flatten();
    let ssh = ports
        .into_iter()
        .find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(ssh.container_port).ok()
}

fn read_limits(main: &Container) -> Vec<(String, String)> {
    let limits = main
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref());
    limits
        .into_iter()
        .flatten()
        .map(|(name, amount)| (name.clone(), amount.0.clone()))
        .collect()
}

fn applied_limit(name: &str, value: &str) -> AppliedLimit {
    let (resource, by) = match name {
        "ephemeral-storage" => ("disk", "eviction"),
        other => (other, "cgroup"),
    };
    AppliedLimit {
        resource: resource.into(),
        value: value.into(),
        scope: LimitScope::Sandbox,
        enforced_by: by.into(),
    }
}

pub(super) fn to_system_time(time: &Time) -> SystemTime {
    SystemTime::from(time.0)
}

#[cfg(test)]
pub(crate) mod tests;
