//! Applies a raw patch to the Pod.
//!
//! It is a [JSON merge patch](https://www.rfc-editor.org/rfc/rfc7396), except that lists whose elements
//! have names in Kubernetes (containers, volumes, variables …) are merged by name, as in a strategic merge
//! patch. The result is compared with the original, so that no trick in a patch evades the comparison.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use super::key_references;
use super::non_empty::non_empty;
use super::volumes::is_reserved_volume;
use crate::manifest::labels::is_reserved;
use crate::manifest::place;
use crate::names::{CONTAINER, SERVER};

/// Applies the patches in order to a Pod that is complete otherwise.
///
/// # Errors
///
/// [`Error::Invalid`] with the place, for a patch whose result is not a valid Pod, or that changes fields
/// that the SDK relies on.
pub(super) fn apply(pod: Pod, patches: &[&Value]) -> Result<Pod> {
    let mut merged = serde_json::to_value(&pod).map_err(|error| not_a_pod(&error))?;
    for patch in patches {
        if !patch.is_object() {
            return Err(invalid_patch(
                WHOLE,
                "it must be an object, such as {\"spec\": {…}}",
            ));
        }
        merge(&mut merged, patch, None);
    }
    let patched: Pod = Pod::deserialize(&merged).map_err(|error| {
        let place = place::find::<Pod>(&merged);
        not_a_pod_at(place.as_deref().unwrap_or(WHOLE), &error)
    })?;
    let parsed = serde_json::to_value(&patched).map_err(|error| not_a_pod(&error))?;
    if let Some(field) = unknown_field(&merged, &parsed) {
        return Err(invalid_patch(
            &field,
            "the version of Kubernetes that this program was built for has no such field",
        ));
    }
    if let Some(place) = changed_field(&pod, &patched) {
        return Err(invalid_patch(
            place,
            "the SDK relies on it; what can be changed has an option of its own",
        ));
    }
    check_key_references(&pod, &patched)?;
    Ok(patched)
}

fn invalid_patch(place: &str, why: &str) -> Error {
    Error::invalid("Pod patch", place, why)
}

/// The place of a mistake in the patch as a whole.
const WHOLE: &str = "the patch";

fn not_a_pod(error: &serde_json::Error) -> Error {
    not_a_pod_at(WHOLE, error)
}

fn not_a_pod_at(place: &str, error: &serde_json::Error) -> Error {
    invalid_patch(place, &format!("the result is not a valid Pod: {error}"))
}

/// Returns the field that identifies the elements of a list.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "containers" | "initContainers" | "volumes" | "env" | "imagePullSecrets" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "hostAliases" => Some("ip"),
        _ => None,
    }
}

fn merge(target: &mut Value, patch: &Value, field: Option<&str>) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (field, value) in patch {
                if value.is_null() {
                    target.remove(field);
                } else {
                    merge(
                        target.entry(field.clone()).or_insert(Value::Null),
                        value,
                        Some(field),
                    );
                }
            }
        }
        (Value::Array(target), Value::Array(patch)) if field.and_then(merge_key).is_some() => {
            let key = field.and_then(merge_key).unwrap_or_default();
            for value in patch {
                match target
                    .iter_mut()
                    .find(|element| element.get(key) == value.get(key))
                {
                    Some(element) => merge(element, value, None),
                    None => target.push(value.clone()),
                }
            }
        }
        // In a new object, too, null means that the field is absent.
        (target, Value::Object(patch)) => {
            *target = Value::Object(serde_json::Map::new());
            merge(target, &Value::Object(patch.clone()), None);
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// Returns the first field that must not change and did.
fn changed_field(before: &Pod, after: &Pod) -> Option<&'static str> {
    let first = before
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .find(|container| container.name == CONTAINER);
    let variables = first
        .into_iter()
        .flat_map(|container| container.env.iter().flatten());
    let variables: Vec<String> = variables.map(|variable| variable.name.clone()).collect();
    let meta = |pod: &Pod| ObjectMeta {
        labels: None,
        annotations: None,
        ..pod.metadata.clone()
    };
    let reserved = |map: &Option<BTreeMap<String, String>>| -> Vec<(String, String)> {
        map.clone()
            .into_iter()
            .flatten()
            .filter(|(key, _)| is_reserved(key))
            .collect()
    };
    let labels = |pod: &Pod| {
        (
            reserved(&pod.metadata.labels),
            reserved(&pod.metadata.annotations),
        )
    };
    let spec = |pod: &Pod| pod.spec.clone().unwrap_or_default();
    let lifetimes = |pod: &Pod| {
        let spec = spec(pod);
        (
            spec.active_deadline_seconds,
            spec.restart_policy,
            spec.termination_grace_period_seconds,
        )
    };
    let volumes = |pod: &Pod| -> Vec<_> {
        spec(pod)
            .volumes
            .into_iter()
            .flatten()
            .filter(|volume| is_reserved_volume(&volume.name))
            .collect()
    };
    let is_managed = |container: &Container| [CONTAINER, SERVER].contains(&container.name.as_str());
    let copiers = |pod: &Pod| -> Vec<_> {
        spec(pod)
            .init_containers
            .into_iter()
            .flatten()
            .filter(is_managed)
            .collect()
    };
    let mains = |pod: &Pod| -> Vec<_> {
        let containers = spec(pod).containers.into_iter().filter(is_managed);
        containers
            .map(|container| protected_fields(container, &variables))
            .collect()
    };
    let checks: [(&'static str, bool); 8] = [
        (
            "metadata: all but labels and annotations",
            meta(before) == meta(after),
        ),
        (
            "metadata: labels and annotations under sandbox.dev",
            labels(before) == labels(after),
        ),
        (
            "spec: activeDeadlineSeconds, restartPolicy, terminationGracePeriodSeconds",
            lifetimes(before) == lifetimes(after),
        ),
        (
            "spec.volumes: the server and its key",
            volumes(before) == volumes(after),
        ),
        (
            "spec.initContainers: sandbox-server",
            copiers(before) == copiers(after),
        ),
        (
            "spec.containers: image, command, args, ports, keys, server and restarts of sandbox",
            mains(before) == mains(after),
        ),
        // Kubernetes adds such containers to Pods that run, and refuses them in a new one.
        (
            "spec.ephemeralContainers",
            spec(after).ephemeral_containers.is_none(),
        ),
        ("status", after.status.is_none()),
    ];
    checks
        .into_iter()
        .find_map(|(place, same)| (!same).then_some(place))
}

/// Checks that the patch neither adds nor removes a reference to the keys of this or another sandbox.
fn check_key_references(before: &Pod, after: &Pod) -> Result<()> {
    let references = |pod: &Pod| {
        serde_json::to_value(&pod.spec)
            .map(|spec| key_references::find(&spec))
            .map_err(|error| not_a_pod(&error))
    };
    let (before, mut after) = (references(before)?, references(after)?);
    for own in &before {
        let Some(index) = after.iter().position(|reference| reference == own) else {
            return Err(invalid_patch(
                &own.place,
                "the Secret with the sandbox's keys is needed there; leave it unchanged",
            ));
        };
        after.swap_remove(index);
    }
    match after.first() {
        None => Ok(()),
        Some(added) => Err(invalid_patch(
            &added.place,
            &format!(
                "the Secret {} holds the keys of a sandbox, which are not for commands; name another Secret",
                added.secret
            ),
        )),
    }
}

/// Returns the sandbox's container without the fields that may change; fields that are not listed here
/// are protected. Variables may be added, except for a second one of the names that hold keys, because the
/// last of two would win.
fn protected_fields(container: Container, variables: &[String]) -> Container {
    let env = container
        .env
        .into_iter()
        .flatten()
        .filter(|variable| variables.contains(&variable.name));
    let mounts = container
        .volume_mounts
        .into_iter()
        .flatten()
        .filter(|mount| is_reserved_volume(&mount.name));
    Container {
        env: non_empty(env.collect()),
        volume_mounts: non_empty(mounts.collect()),
        env_from: None,
        image_pull_policy: None,
        lifecycle: None,
        liveness_probe: None,
        readiness_probe: None,
        resize_policy: None,
        resources: None,
        security_context: None,
        startup_probe: None,
        volume_devices: None,
        working_dir: None,
        ..container
    }
}

/// Returns a field of `sent` that `parsed` does not have.
fn unknown_field(sent: &Value, parsed: &Value) -> Option<String> {
    match (sent, parsed) {
        (Value::Object(sent), Value::Object(parsed)) => {
            sent.iter()
                .find_map(|(field, value)| match parsed.get(field) {
                    Some(parsed) => {
                        unknown_field(value, parsed).map(|rest| format!("{field}.{rest}"))
                    }
                    None => (!value.is_null()).then(|| field.clone()),
                })
        }
        (Value::Array(sent), Value::Array(parsed)) => sent
            .iter()
            .zip(parsed)
            .find_map(|(sent, parsed)| unknown_field(sent, parsed)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
