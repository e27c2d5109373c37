//! The little that is kept of a Pod.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{Container, ContainerState, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sandbox_core::{
    AppliedLimit, Isolation, LimitScope, SandboxId, SandboxInfo, SandboxState, Uid,
};

use super::obstacle::{Expected, named, obstacle};
use super::{Trouble, ending};
use crate::labels::{self, Ends, NotOurs, Ownership};
use crate::pod::{CONTAINER, PORT, PORT_NAME, SERVER};

/// What a sandbox's Pod says. A whole Pod is 5 to 15 kB; of thousands, this is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PodView {
    /// The sandbox.
    pub id: SandboxId,
    /// The Pod's uid.
    pub uid: Uid,
    /// The uid of the Secret that owns it.
    pub owner: Uid,
    /// Of the whole Pod, for preconditions. To be compared for equality, and not otherwise.
    pub resource_version: String,
    /// By which its creator recognises it.
    pub nonce: Option<String>,
    /// When the API server stored it.
    pub created_at: SystemTime,
    /// When it ends.
    pub ends: Ends,
    /// Its maker holds a Lease that owns it.
    pub has_lease: bool,
    /// What its owner called it.
    pub labels: BTreeMap<String, String>,
    /// The image of the sandbox.
    pub image: Option<String>,
    /// The login name.
    pub user: String,
    /// The host key of an image's own SSH server, as far as somebody has learned it.
    pub host_key: Option<String>,
    /// Where its SSH server listens.
    pub port: u16,
    /// What separates it from its machine, as far as its Pod says it, in words for people.
    pub isolation: Vec<String>,
    /// Limits of the sandbox, by name.
    pub limits: Vec<(String, String)>,
    /// The machine it is on, and since when.
    pub scheduled: Option<(String, SystemTime)>,
    /// Since when its server runs, or when it did.
    pub started_at: Option<SystemTime>,
    /// Where it can be reached.
    pub address: Option<IpAddr>,
    /// Where it is in its life.
    pub state: SandboxState,
    /// It is being deleted.
    pub deleting: bool,
    /// What stands in its way, or has ended it.
    pub trouble: Option<Trouble>,
    /// The last words of its server, where the kubelet kept them: from inside the sandbox.
    pub last_words: String,
}

impl PodView {
    /// Reads a Pod as it came from the API server.
    ///
    /// # Errors
    ///
    /// When it is none of ours, whatever its labels say.
    pub fn of(pod: &Pod) -> Result<Self, NotOurs> {
        let Ownership { id, uid, owner } = Ownership::of_pod(pod)?;
        let (meta, spec, status) = (&pod.metadata, pod.spec.as_ref(), pod.status.as_ref());
        let created_at = meta
            .creation_timestamp
            .as_ref()
            .map_or(SystemTime::UNIX_EPOCH, at);
        let main = spec.and_then(container);
        let ours = status.and_then(|status| named(&status.container_statuses, CONTAINER));
        let state = ours.and_then(|ours| ours.state.as_ref());
        let started = state.and_then(started);
        let phase = status
            .and_then(|status| status.phase.as_deref())
            .unwrap_or("Pending");
        let over = matches!(phase, "Succeeded" | "Failed")
            || state.is_some_and(|state| state.terminated.is_some());
        let deleting = meta.deletion_timestamp.is_some();
        let limits = main.map(limits).unwrap_or_default();
        let user = labels::annotation(meta, labels::USER).unwrap_or(CONTAINER);
        Ok(Self {
            id,
            uid,
            owner,
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            nonce: labels::annotation(meta, labels::NONCE).map(str::to_owned),
            created_at,
            ends: Ends::of(pod, created_at),
            has_lease: labels::annotation(meta, labels::LEASE).is_some(),
            labels: labels::own_labels(meta),
            image: main.and_then(|main| main.image.clone()),
            user: user.to_owned(),
            host_key: labels::annotation(meta, labels::HOST_KEY).map(str::to_owned),
            port: main.and_then(port).unwrap_or(PORT),
            isolation: super::isolation::applied(pod, main),
            scheduled: spec
                .zip(status)
                .and_then(|(spec, status)| scheduled(spec, status, created_at)),
            started_at: started.and_then(|time| time.as_ref().map(at)),
            address: status.and_then(|status| status.pod_ip.as_deref()?.parse().ok()),
            state: match () {
                () if over || deleting => SandboxState::Ended,
                () if state.is_some_and(|state| state.running.is_some()) => SandboxState::Running,
                () => SandboxState::Pending,
            },
            deleting,
            trouble: status.and_then(|status| match () {
                // How its processes end while it is taken away is nobody's trouble.
                () if deleting => ending::pod(status),
                () => {
                    let our_server = user == CONTAINER;
                    let mounted = spec.and_then(mounted_server);
                    obstacle(
                        status,
                        &Expected {
                            ours,
                            over,
                            limits: &limits,
                            our_server,
                            mounted,
                        },
                    )
                }
            }),
            last_words: state
                .and_then(|state| state.terminated.as_ref()?.message.clone())
                .unwrap_or_default(),
            limits,
        })
    }

    /// As people see it.
    pub fn info(&self) -> SandboxInfo {
        SandboxInfo {
            id: self.id.clone(),
            uid: self.uid.clone(),
            backend: "k8s".into(),
            state: self.state,
            address: self.address.map(|address| address.to_string()),
            port: Some(self.port),
            user: self.user.clone(),
            home: None,
            image: self.image.clone(),
            labels: self.labels.clone(),
            created_at: self.created_at,
            expires_at: Some(self.ends.soft),
            isolation: Isolation {
                kind: "pod".into(),
                applied: self.isolation.clone(),
            },
            limits: self
                .limits
                .iter()
                .map(|(name, value)| limit(name, value))
                .collect(),
        }
    }
}

fn container(spec: &PodSpec) -> Option<&Container> {
    spec.containers
        .iter()
        .find(|container| container.name == CONTAINER)
}

/// The image with the server, where it is a volume.
fn mounted_server(spec: &PodSpec) -> Option<&str> {
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.name == SERVER)?;
    volume.image.as_ref()?.reference.as_deref()
}

/// When the container began, if it did.
fn started(state: &ContainerState) -> Option<Option<Time>> {
    let running = state
        .running
        .as_ref()
        .map(|running| running.started_at.clone());
    // One that could not be started at all has a time too: that of 1970.
    let ran = state.terminated.as_ref().filter(|ended| {
        !matches!(
            ended.reason.as_deref(),
            Some("StartError" | "ContainerCannotRun")
        )
    });
    let ended = || ran.map(|ended| ended.started_at.clone());
    running.or_else(ended)
}

fn scheduled(
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
    Some((node, since.map_or(otherwise, at)))
}

fn port(main: &Container) -> Option<u16> {
    let ports = main.ports.iter().flatten();
    let ssh = ports
        .into_iter()
        .find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(ssh.container_port).ok()
}

fn limits(main: &Container) -> Vec<(String, String)> {
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

fn limit(name: &str, value: &str) -> AppliedLimit {
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

pub(super) fn at(time: &Time) -> SystemTime {
    SystemTime::from(time.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// A Pod of ours; `change` has fields of its status, `nodeName`, `deleting`, and `state`, that
    /// of the sandbox's container.
    pub(crate) fn pod(mut change: Value) -> Pod {
        let mut take = |field: &str| change.as_object_mut().unwrap().remove(field);
        let (node, deleting, state) = (take("nodeName"), take("deleting"), take("state"));
        let mut status = json!({"phase": "Pending"});
        let container = |name: &str, state: Value| json!({"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state});
        if let Some(state) = state {
            // A mesh's container comes first and crashes: it is not ours to judge.
            let mesh = container("istio-proxy", json!({"terminated": {"exitCode": 1}}));
            status["containerStatuses"] = json!([mesh, container("sandbox", state)]);
        }
        status
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        serde_json::from_value(json!({
            "metadata": {
                "name": "sbx-a", "uid": "p1", "resourceVersion": "7", "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": deleting,
                "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": "sbx-a", "team": "ml"},
                "annotations": {"sandbox.dev/owner-uid": "s1", "sandbox.dev/ends-after": "60", "sandbox.dev/nonce": "n"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "sbx-a-keys", "uid": "s1"}],
            },
            "spec": {
                "nodeName": node, "activeDeadlineSeconds": 3600, "runtimeClassName": "gvisor",
                "containers": [
                    {"name": "istio-proxy", "ports": [{"name": "ssh", "containerPort": 9}]},
                    {"name": "sandbox", "image": "busybox", "ports": [{"name": "ssh", "containerPort": 2222}],
                     "resources": {"limits": {"memory": "64Mi", "ephemeral-storage": "1Gi"}}},
                ],
            },
            "status": status,
        }))
        .unwrap()
    }

    pub(crate) fn view(change: Value) -> PodView {
        PodView::of(&pod(change)).unwrap()
    }

    #[test]
    fn what_people_see_of_a_pod() {
        let view = view(
            json!({"nodeName": "n1", "phase": "Running", "podIP": "10.0.0.7",
                               "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}}}),
        );
        let info = view.info();
        assert_eq!(
            (info.id.as_str(), info.uid.as_str(), info.state),
            ("sbx-a", "p1", SandboxState::Running)
        );
        assert_eq!(
            (info.address.as_deref(), info.port),
            (Some("10.0.0.7"), Some(2222))
        );
        assert_eq!(info.labels, BTreeMap::from([("team".into(), "ml".into())]));
        assert_eq!(
            info.expires_at,
            Some(info.created_at + Duration::from_secs(60))
        );
        assert_eq!(
            (info.user.as_str(), info.image.as_deref()),
            ("sandbox", Some("busybox"))
        );
        assert_eq!(
            info.isolation.applied,
            ["Pod Security baseline", "runtime class gvisor"]
        );
        let limits: Vec<_> = info
            .limits
            .iter()
            .map(|l| (l.resource.as_str(), l.value.as_str()))
            .collect();
        assert_eq!(limits, [("disk", "1Gi"), ("memory", "64Mi")]);
        assert_eq!(view.trouble, None);
    }

    #[test]
    fn a_state_and_a_trouble_for_each_status() {
        use SandboxState::{Ended, Pending, Running};
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let ended =
            |code: i32, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let first = |name: &str, state: Value| json!([{"name": name, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]);
        let copier = |state: Value| first("sandbox-server", state);
        let mesh = |state: Value| first("mesh-init", state);
        let running = json!({"running": {}});
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low", "state": ended(137, "Error")});
        let disrupted = json!([{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]);
        for (status, state, trouble) in [
            (json!({}), Pending, None),
            (
                json!({"state": waiting("ContainerCreating")}),
                Pending,
                None,
            ),
            (
                json!({"state": waiting("ErrImageNeverPull")}),
                Pending,
                Some("Never"),
            ),
            (json!({"state": running, "phase": "Running"}), Running, None),
            (
                json!({"state": ended(137, "OOMKilled"), "phase": "Running"}),
                Ended,
                Some("limit of 64Mi"),
            ),
            (
                json!({"state": ended(0, "Completed"), "phase": "Succeeded"}),
                Ended,
                Some("by itself"),
            ),
            (evicted, Ended, Some("evicted: low")),
            (json!({"phase": "Failed"}), Ended, Some("does not say why")),
            (
                json!({"initContainerStatuses": copier(waiting("ImagePullBackOff"))}),
                Pending,
                Some("SANDBOX_SERVER_IMAGE"),
            ),
            (
                json!({"initContainerStatuses": copier(ended(1, "Error"))}),
                Pending,
                Some("SANDBOX_SERVER_IMAGE"),
            ),
            (
                json!({"initContainerStatuses": copier(ended(0, "Completed")), "state": running}),
                Running,
                None,
            ),
            // Others' first containers count while ours waits for them, and not otherwise.
            (
                json!({"initContainerStatuses": mesh(waiting("ErrImageNeverPull")), "state": waiting("PodInitializing")}),
                Pending,
                Some("its first container mesh-init: "),
            ),
            (
                json!({"initContainerStatuses": mesh(waiting("CrashLoopBackOff")), "state": running}),
                Running,
                None,
            ),
            // What was announced has not happened yet.
            (
                json!({"state": running, "conditions": disrupted}),
                Running,
                None,
            ),
            (
                json!({"deleting": "2026-01-01T00:00:09Z", "state": running}),
                Ended,
                None,
            ),
            (
                json!({"deleting": "2026-01-01T00:00:09Z", "state": ended(143, "Error")}),
                Ended,
                None,
            ),
            (
                json!({"deleting": "2026-01-01T00:00:09Z", "conditions": disrupted}),
                Ended,
                Some("evicted"),
            ),
        ] {
            let view = view(status.clone());
            assert_eq!(view.state, state, "{status}");
            match (trouble, &view.trouble) {
                (None, None) => {}
                (Some(said), Some(found)) => {
                    assert!(found.message.contains(said), "{status}: {found:?}")
                }
                (expected, found) => panic!("{status}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn an_image_that_is_a_volume_is_the_servers() {
        let pull = "failed to pull and unpack image \"r.example/sshd:1\": not found";
        let mut pod =
            pod(json!({"state": {"waiting": {"reason": "ErrImagePull", "message": pull}}}));
        let told = |pod: &Pod| PodView::of(pod).unwrap().trouble.unwrap();
        assert!(!told(&pod).message.contains("SANDBOX_SERVER_IMAGE"));
        let volumes =
            json!([{"name": "sandbox-server", "image": {"reference": "r.example/sshd:1"}}]);
        pod.spec.as_mut().unwrap().volumes = serde_json::from_value(volumes).unwrap();
        assert!(told(&pod).message.contains("SANDBOX_SERVER_IMAGE") && told(&pod).is_final());
    }

    #[test]
    fn a_sidecar_that_starts_again_and_again_is_not_final() {
        let status = json!({"state": {"waiting": {"reason": "PodInitializing"}}, "initContainerStatuses": [{
            "name": "proxy", "image": "", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
        assert!(!view(status).trouble.unwrap().is_final());
    }

    #[test]
    fn last_words_are_kept_apart() {
        let view = view(
            json!({"phase": "Failed", "state": {"terminated": {"exitCode": 1, "message": "\u{1b}[2J hostile"}}}),
        );
        assert_eq!(view.last_words, "\u{1b}[2J hostile");
        assert!(!view.trouble.unwrap().message.contains("hostile"));
    }

    #[test]
    fn nonsense_from_the_server_is_no_panic() {
        let mut odd = pod(json!({"podIP": "not an address", "phase": "Unheard"}));
        odd.metadata.creation_timestamp = None;
        odd.spec.as_mut().unwrap().containers.clear();
        let view = PodView::of(&odd).unwrap();
        assert_eq!((view.address, view.port, view.image), (None, PORT, None));
        odd.spec = None;
        odd.status = None;
        assert!(PodView::of(&odd).is_ok());
    }
}
