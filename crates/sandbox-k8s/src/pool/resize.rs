//! The patch that resizes the container of a running sandbox, and what a Pod says about it.
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sandbox_core::{Error, ResizeOutcome, Resources, Result, Uid};
use serde_json::{Value, json};

use crate::names::CONTAINER;

/// How much of a message is kept, in bytes.
const MAX_MESSAGE: usize = 1024;

/// Refuses what no running Pod can get.
pub(crate) fn check_resizable(size: &Resources) -> Result<()> {
    let fixed = [
        ("a new limit of its disk", size.disk.is_some()),
        ("a new limit of its processes", size.pids.is_some()),
    ];
    match fixed.into_iter().find(|(_, is_asked)| *is_asked) {
        Some((operation, _)) => Err(Error::unsupported_because(
            operation,
            "a running Pod",
            "only its cpu and memory can be changed",
            "set it where the pool is filled",
        )),
        None => Ok(()),
    }
}

/// Returns the strategic merge patch for this instance. A resource whose request equalled its limit keeps that, and
/// one with a smaller request keeps the request: so the class of the Pod (QoS), which may not change, stays.
pub(crate) fn resize_patch(uid: &Uid, pod: &Pod, size: &Resources) -> Value {
    let current = main_resources(pod).cloned().unwrap_or_default();
    let of = |amounts: &Option<BTreeMap<String, Quantity>>, name: &str| {
        amounts
            .as_ref()
            .and_then(|amounts| amounts.get(name))
            .cloned()
    };
    let (mut requests, mut limits) = (json!({}), json!({}));
    for (name, amount) in amounts(size) {
        let request = of(&current.requests, name);
        let is_smaller = request.is_some() && request != of(&current.limits, name);
        if !is_smaller {
            requests[name] = json!(amount);
        }
        limits[name] = json!(amount);
    }
    json!({
        "metadata": {"uid": uid},
        "spec": {"containers": [{"name": CONTAINER, "resources": {"requests": requests, "limits": limits}}]},
    })
}

/// Returns what has become of a resize to this size, according to the Pod's status.
pub(crate) fn read_outcome(pod: &Pod, size: &Resources) -> ResizeOutcome {
    let status = pod.status.as_ref();
    let condition = |kind: &str| {
        status
            .and_then(|status| status.conditions.as_ref())
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == kind && condition.status == "True")
    };
    let text = |message: &Option<String>, default: &str| {
        let message = message.as_deref().unwrap_or_default();
        match &message[..message.floor_char_boundary(MAX_MESSAGE)] {
            "" => default.to_owned(),
            message => message.to_owned(),
        }
    };
    if let Some(pending) = condition("PodResizePending") {
        let message = text(&pending.message, "its node has no room for the new size");
        return match pending.reason.as_deref() {
            Some("Infeasible") => ResizeOutcome::Infeasible { message },
            // A reason of a later version does not say that it is hopeless.
            Some(_) | None => ResizeOutcome::Deferred { message },
        };
    }
    if let Some(running) = condition("PodResizeInProgress") {
        let message = text(&running.message, "its node is applying the new size");
        return ResizeOutcome::Unconfirmed { message };
    }
    let actual = status
        .and_then(|status| status.container_statuses.as_ref())
        .into_iter()
        .flatten()
        .find(|container| container.name == CONTAINER)
        .and_then(|container| container.resources.as_ref())
        .and_then(|resources| resources.limits.as_ref());
    // Both are written by Kubernetes, in the same form.
    let wanted = main_resources(pod).and_then(|resources| resources.limits.as_ref());
    let is_applied = amounts(size).all(|(name, _)| {
        let of = |limits: Option<&BTreeMap<String, Quantity>>| limits?.get(name).cloned();
        of(actual).is_some() && of(actual) == of(wanted)
    });
    if is_applied {
        ResizeOutcome::Applied
    } else {
        let message = "its node has not confirmed the new size yet".to_owned();
        ResizeOutcome::Unconfirmed { message }
    }
}

fn amounts(size: &Resources) -> impl Iterator<Item = (&'static str, String)> {
    let cpu = size.cpu.map(|cpu| ("cpu", cpu.to_string()));
    let memory = size.memory.map(|memory| ("memory", memory.to_string()));
    cpu.into_iter().chain(memory)
}

fn main_resources(pod: &Pod) -> Option<&ResourceRequirements> {
    let containers = &pod.spec.as_ref()?.containers;
    containers
        .iter()
        .find(|container| container.name == CONTAINER)?
        .resources
        .as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(cpu: Option<&str>, memory: Option<&str>) -> Resources {
        let mut size = Resources::default();
        size.cpu = cpu.map(|cpu| cpu.parse().unwrap());
        size.memory = memory.map(|memory| memory.parse().unwrap());
        size
    }

    fn pod(resources: &Value, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "sbx-a"},
            "spec": {"containers": [{"name": "mesh"}, {"name": "sandbox", "resources": resources}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn the_class_of_the_pod_stays() {
        let resources = |pod: &Value, size: &Resources| {
            let patch = resize_patch(&Uid::new("p1"), &self::pod(pod, &json!({})), size);
            assert_eq!(patch["metadata"]["uid"], "p1");
            assert_eq!(patch["spec"]["containers"][0]["name"], "sandbox");
            patch["spec"]["containers"][0]["resources"].clone()
        };
        let equal = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
        let smaller =
            json!({"requests": {"cpu": "50m"}, "limits": {"cpu": "100m", "memory": "64Mi"}});
        let both = size(Some("2"), Some("4Gi"));
        assert_eq!(
            resources(&equal, &both),
            json!({"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}})
        );
        assert_eq!(
            resources(&smaller, &both),
            json!({"requests": {"memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}})
        );
        assert_eq!(
            resources(&json!({}), &size(None, Some("1Gi"))),
            json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}})
        );
    }

    #[test]
    fn the_kubelet_says_what_became_of_it() {
        let new = json!({"requests": {"memory": "4Gi"}, "limits": {"memory": "4Gi"}});
        let asked = size(None, Some("4Gi"));
        let outcome = |status: &Value| read_outcome(&pod(&new, status), &asked);
        let condition = |kind: &str, reason: &str, message: &str| json!({"conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]});
        let running = |memory: &str| {
            json!({"containerStatuses": [
                {"name": "sandbox", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                 "resources": {"limits": {"memory": memory}}}]})
        };
        assert_eq!(outcome(&running("4Gi")), ResizeOutcome::Applied);
        for status in [running("64Mi"), json!({})] {
            let outcome = outcome(&status);
            assert!(
                matches!(outcome, ResizeOutcome::Unconfirmed { .. }),
                "{outcome:?}"
            );
        }
        let full = "Node didn't have enough resource: memory";
        let message = full.to_owned();
        assert_eq!(
            outcome(&condition("PodResizePending", "Deferred", full)),
            ResizeOutcome::Deferred { message }
        );
        let never = "Node didn't have enough capacity: memory, requested: 4294967296, capacity: 1";
        let message = never.to_owned();
        assert_eq!(
            outcome(&condition("PodResizePending", "Infeasible", never)),
            ResizeOutcome::Infeasible { message }
        );
        let progress = outcome(&condition("PodResizeInProgress", "", ""));
        assert!(matches!(progress, ResizeOutcome::Unconfirmed { message } if !message.is_empty()));
        let long = outcome(&condition(
            "PodResizePending",
            "Deferred",
            &"é".repeat(1 << 20),
        ));
        assert!(
            matches!(long, ResizeOutcome::Deferred { message } if message.len() <= MAX_MESSAGE)
        );
    }

    #[test]
    fn disk_and_processes_cannot_be_changed() {
        let mut disk = Resources::default();
        disk.disk = Some("1Gi".parse().unwrap());
        let error = check_resizable(&disk).unwrap_err().to_string();
        assert!(error.contains("disk"), "{error}");
        assert!(check_resizable(&size(Some("1"), Some("1Gi"))).is_ok());
    }
}
