//! A raw patch of the Pod.
//!
//! [JSON merge patch](https://www.rfc-editor.org/rfc/rfc7396), except that lists whose elements
//! have names in Kubernetes (containers, volumes, variables …) are merged by name, as a strategic
//! merge patch does. What came out is compared with what went in, so that no trick of a patch
//! gets around the comparison.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Error, Result, SandboxId};
use serde::Deserialize;
use serde_json::Value;

use super::non_empty::non_empty;
use super::volumes::is_reserved_volume;
use crate::manifest::labels::{is_reserved, secret_name};
use crate::names::{CONTAINER, SERVER};

/// Patches a Pod that is complete otherwise, with one patch after the other.
///
/// # Errors
///
/// [`Error::Invalid`] for a patch whose outcome is no Pod, or that touches what the SDK relies
/// on, with the place.
pub(super) fn apply(pod: Pod, patches: &[&Value], id: &SandboxId) -> Result<Pod> {
    let mut merged = serde_json::to_value(&pod).map_err(|error| not_a_pod(&error))?;
    for patch in patches {
        if !patch.is_object() {
            return Err(invalid_patch(
                "the patch",
                "it must be an object, such as {\"spec\": {…}}",
            ));
        }
        merge(&mut merged, patch, None);
    }
    let patched: Pod = Pod::deserialize(&merged).map_err(|error| not_a_pod(&error))?;
    let parsed = serde_json::to_value(&patched).map_err(|error| not_a_pod(&error))?;
    if let Some(field) = unknown_field(&merged, &parsed) {
        return Err(invalid_patch(
            &field,
            "the version of Kubernetes that this program was built for has no such field",
        ));
    }
    match changed_field(&pod, &patched).or_else(|| changed_key_reference(&pod, &patched, id)) {
        Some(place) => Err(invalid_patch(
            place,
            "the SDK relies on it; what can be changed has an option of its own",
        )),
        None => Ok(patched),
    }
}

fn invalid_patch(place: &str, why: &str) -> Error {
    Error::invalid("Pod patch", place, why)
}

fn not_a_pod(error: &serde_json::Error) -> Error {
    invalid_patch(
        "the patch",
        &format!("what comes out of it is no Pod: {error}"),
    )
}

/// By which field the elements of a list are told apart.
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
        // In what is new, a null is an absence as well.
        (target, Value::Object(patch)) => {
            *target = Value::Object(serde_json::Map::new());
            merge(target, &Value::Object(patch.clone()), None);
        }
        (target, patch) => *target = patch.clone(),
    }
}

/// The first thing that must stay as it was and did not.
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
    let ours = |container: &Container| [CONTAINER, SERVER].contains(&container.name.as_str());
    let copiers = |pod: &Pod| -> Vec<_> {
        spec(pod)
            .init_containers
            .into_iter()
            .flatten()
            .filter(ours)
            .collect()
    };
    let mains = |pod: &Pod| -> Vec<_> {
        let containers = spec(pod).containers.into_iter().filter(ours);
        containers
            .map(|container| protected_fields(container, &variables))
            .collect()
    };
    let checks: [(&'static str, bool); 7] = [
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
        ("status", after.status.is_none()),
    ];
    checks
        .into_iter()
        .find_map(|(place, same)| (!same).then_some(place))
}

/// Whether the Secret with the keys is named in more places than before, whichever they are.
fn changed_key_reference(before: &Pod, after: &Pod, id: &SandboxId) -> Option<&'static str> {
    let name = secret_name(id);
    let named = |pod: &Pod| {
        serde_json::to_value(&pod.spec).map_or(usize::MAX, |spec| count_references(&spec, &name))
    };
    (named(before) != named(after)).then_some("spec: the Secret with the sandbox's keys")
}

fn count_references(value: &Value, text: &str) -> usize {
    match value {
        Value::String(found) => usize::from(found == text),
        Value::Array(list) => list.iter().map(|value| count_references(value, text)).sum(),
        Value::Object(fields) => fields
            .values()
            .map(|value| count_references(value, text))
            .sum(),
        _ => 0,
    }
}

/// The sandbox's container without what may be changed: a field that is not known here is relied
/// on. Variables may be added, but none of those that hold keys a second time: the last of two
/// would count.
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

/// A field of `sent` that `known` has lost.
fn unknown_field(sent: &Value, known: &Value) -> Option<String> {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            sent.iter()
                .find_map(|(field, value)| match known.get(field) {
                    Some(known) => {
                        unknown_field(value, known).map(|rest| format!("{field}.{rest}"))
                    }
                    None => (!value.is_null()).then(|| field.clone()),
                })
        }
        (Value::Array(sent), Value::Array(known)) => sent
            .iter()
            .zip(known)
            .find_map(|(sent, known)| unknown_field(sent, known)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
