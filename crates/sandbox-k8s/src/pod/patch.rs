//! A raw patch of the Pod.
//!
//! [JSON merge patch](https://www.rfc-editor.org/rfc/rfc7396), except that lists whose elements
//! have names in Kubernetes (containers, volumes, variables …) are merged by name, as a strategic
//! merge patch does. What came out is compared with what went in, so that no trick of a patch
//! gets around the comparison.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use super::{CONTAINER, KEY, SERVER, some};
use crate::labels::is_reserved;

/// Patches a Pod that is complete otherwise.
///
/// # Errors
///
/// [`Error::Invalid`] for a patch whose outcome is no Pod, or that touches what the SDK relies
/// on, with the place.
pub(super) fn apply(pod: Pod, patch: &Value) -> Result<Pod> {
    if !patch.is_object() {
        return Err(refused("the patch", "it must be an object, such as {\"spec\": {…}}"));
    }
    let mut merged = serde_json::to_value(&pod).map_err(|error| not_a_pod(&error))?;
    merge(&mut merged, patch, None);
    let patched: Pod = Pod::deserialize(&merged).map_err(|error| not_a_pod(&error))?;
    let known = serde_json::to_value(&patched).map_err(|error| not_a_pod(&error))?;
    if let Some(field) = unknown_field(&merged, &known) {
        return Err(refused(
            &field,
            "the version of Kubernetes that this program was built for has no such field",
        ));
    }
    match touched(&pod, &patched) {
        Some(place) => {
            Err(refused(place, "the SDK relies on it; what can be changed has an option of its own"))
        }
        None => Ok(patched),
    }
}

fn refused(place: &str, why: &str) -> Error {
    Error::invalid("Pod patch", place, why)
}

fn not_a_pod(error: &serde_json::Error) -> Error {
    refused("the patch", &format!("what comes out of it is no Pod: {error}"))
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
                    merge(target.entry(field.clone()).or_insert(Value::Null), value, Some(field));
                }
            }
        }
        (Value::Array(target), Value::Array(patch)) if field.and_then(merge_key).is_some() => {
            let key = field.and_then(merge_key).unwrap_or_default();
            for value in patch {
                match target.iter_mut().find(|element| element.get(key) == value.get(key)) {
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
fn touched(before: &Pod, after: &Pod) -> Option<&'static str> {
    let first =
        before.spec.iter().flat_map(|spec| &spec.containers).find(|container| container.name == CONTAINER);
    let variables = first.into_iter().flat_map(|container| container.env.iter().flatten());
    let variables: Vec<String> = variables.map(|variable| variable.name.clone()).collect();
    let meta = |pod: &Pod| {
        let ObjectMeta { name, namespace, owner_references, generate_name, finalizers, uid, .. } =
            pod.metadata.clone();
        (name, namespace, owner_references, generate_name, finalizers, uid)
    };
    let reserved = |map: &Option<BTreeMap<String, String>>| -> Vec<(String, String)> {
        map.clone().into_iter().flatten().filter(|(key, _)| is_reserved(key)).collect()
    };
    let labels = |pod: &Pod| (reserved(&pod.metadata.labels), reserved(&pod.metadata.annotations));
    let spec = |pod: &Pod| pod.spec.clone().unwrap_or_default();
    let lifetimes = |pod: &Pod| {
        let spec = spec(pod);
        (spec.active_deadline_seconds, spec.restart_policy, spec.termination_grace_period_seconds)
    };
    let volumes = |pod: &Pod| -> Vec<_> {
        spec(pod).volumes.into_iter().flatten().filter(|volume| is_ours(&volume.name)).collect()
    };
    let copiers = |pod: &Pod| -> Vec<_> {
        spec(pod).init_containers.into_iter().flatten().filter(|container| container.name == SERVER).collect()
    };
    let mains = |pod: &Pod| -> Vec<_> {
        let containers = spec(pod).containers.into_iter().filter(|container| container.name == CONTAINER);
        containers.map(|container| relied_on(container, &variables)).collect()
    };
    let checks: [(&'static str, bool); 7] = [
        ("metadata: name, namespace, owner, finalizers", meta(before) == meta(after)),
        ("metadata: labels and annotations under sandbox.dev", labels(before) == labels(after)),
        (
            "spec: activeDeadlineSeconds, restartPolicy, terminationGracePeriodSeconds",
            lifetimes(before) == lifetimes(after),
        ),
        ("spec.volumes: the server and its key", volumes(before) == volumes(after)),
        ("spec.initContainers: sandbox-server", copiers(before) == copiers(after)),
        (
            "spec.containers: image, command, args, ports, keys and server of sandbox",
            mains(before) == mains(after),
        ),
        ("status", after.status.is_none()),
    ];
    checks.into_iter().find_map(|(place, same)| (!same).then_some(place))
}

fn is_ours(volume: &str) -> bool {
    volume == SERVER || volume == KEY
}

/// The sandbox's container without what may be changed. Variables may be added, but none of
/// those that hold keys a second time: the last of two would count.
fn relied_on(container: Container, variables: &[String]) -> Container {
    let env = container.env.into_iter().flatten().filter(|variable| variables.contains(&variable.name));
    let mounts = container.volume_mounts.into_iter().flatten().filter(|mount| is_ours(&mount.name));
    Container {
        name: container.name,
        image: container.image,
        command: container.command,
        args: container.args,
        env: some(env.collect()),
        ports: container.ports,
        termination_message_policy: container.termination_message_policy,
        volume_mounts: some(mounts.collect()),
        ..Container::default()
    }
}

/// A field of `sent` that `known` has lost.
fn unknown_field(sent: &Value, known: &Value) -> Option<String> {
    match (sent, known) {
        (Value::Object(sent), Value::Object(known)) => {
            sent.iter().find_map(|(field, value)| match known.get(field) {
                Some(known) => unknown_field(value, known).map(|rest| format!("{field}.{rest}")),
                None => (!value.is_null()).then(|| field.clone()),
            })
        }
        (Value::Array(sent), Value::Array(known)) => {
            sent.iter().zip(known).find_map(|(sent, known)| unknown_field(sent, known))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "sbx-a", "namespace": "ns", "labels": {"sandbox.dev/id": "sbx-a", "team": "ml"}},
            "spec": {
                "activeDeadlineSeconds": 60, "restartPolicy": "Never",
                "containers": [{
                    "name": "sandbox", "image": "i", "command": ["/s"],
                    "env": [{"name": "SANDBOX_SSHD_HOST_KEY", "valueFrom": {"secretKeyRef": {"name": "k", "key": "h"}}}],
                    "volumeMounts": [{"name": "sandbox-server", "mountPath": "/.sandbox"}],
                }],
                "initContainers": [{"name": "sandbox-server", "image": "s"}],
                "volumes": [{"name": "sandbox-server", "emptyDir": {}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn what_is_free_is_merged_by_name() {
        let patched = apply(
            pod(),
            &json!({
                "metadata": {"labels": {"team": null, "x": "y"}, "annotations": {"a": "b"}},
                "spec": {
                    "hostUsers": false,
                    "affinity": {"nodeAffinity": {}},
                    "containers": [
                        {"name": "sandbox", "env": [{"name": "SANDBOX_SSHD_LOG", "value": "debug"}],
                         "securityContext": {"readOnlyRootFilesystem": true},
                         "volumeMounts": [{"name": "d", "mountPath": "/d"}]},
                        {"name": "db", "image": "postgres"},
                    ],
                    "volumes": [{"name": "d", "emptyDir": {}}],
                },
            }),
        )
        .unwrap();
        let spec = patched.spec.unwrap();
        assert_eq!(patched.metadata.labels.unwrap().keys().collect::<Vec<_>>(), ["sandbox.dev/id", "x"]);
        assert_eq!((spec.host_users, spec.containers.len()), (Some(false), 2));
        let main = &spec.containers[0];
        assert_eq!(main.command, Some(vec!["/s".to_owned()]));
        assert_eq!((main.env.as_ref().unwrap().len(), main.volume_mounts.as_ref().unwrap().len()), (2, 2));
        assert_eq!(spec.volumes.unwrap().len(), 2);
    }

    #[test]
    fn what_the_sdk_relies_on_is_refused() {
        let main = |change: Value| {
            let mut container = json!({"name": "sandbox"});
            container.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"spec": {"containers": [container]}})
        };
        let key = "SANDBOX_SSHD_HOST_KEY";
        for (patch, place) in [
            (json!([]), "object"),
            (json!(null), "object"),
            (json!({"metadata": {"name": "other"}}), "name"),
            (json!({"metadata": {"namespace": null}}), "namespace"),
            (json!({"metadata": {"finalizers": ["a/b"]}}), "finalizers"),
            (json!({"metadata": {"ownerReferences": []}}), "owner"),
            (json!({"metadata": {"labels": null}}), "labels"),
            (json!({"metadata": {"labels": {"sandbox.dev/id": "sbx-b"}}}), "labels"),
            (json!({"metadata": {"annotations": {"sandbox.dev/ends-after": "1"}}}), "labels"),
            (json!({"metadata": null}), "name"),
            (json!({"spec": {"activeDeadlineSeconds": null}}), "activeDeadlineSeconds"),
            (json!({"spec": {"restartPolicy": "Always"}}), "restartPolicy"),
            (json!({"spec": {"terminationGracePeriodSeconds": 3600}}), "terminationGrace"),
            (
                json!({"spec": {"volumes": [{"name": "sandbox-server", "hostPath": {"path": "/"}}]}}),
                "volumes",
            ),
            (json!({"spec": {"volumes": null}}), "volumes"),
            (
                json!({"spec": {"initContainers": [{"name": "sandbox-server", "image": "evil"}]}}),
                "initContainers",
            ),
            (json!({"spec": {"containers": null}}), "containers"),
            (json!({"spec": {"containers": []}, "status": {"phase": "Running"}}), "status"),
            (main(json!({"image": "other"})), "image"),
            (main(json!({"command": ["sh"]})), "command"),
            (main(json!({"args": null, "command": null})), "command"),
            (main(json!({"env": null})), "keys"),
            (main(json!({"env": [{"name": key, "value": "mine"}]})), "keys"),
            (main(json!({"volumeMounts": [{"name": "other", "mountPath": "/.sandbox"}]})), "server"),
            (json!({"spec": {"nodeSelecter": {"a": "b"}}}), "spec.nodeSelecter"),
            (main(json!({"securityContext": {"runAsRoot": true}})), "runAsRoot"),
            (json!({"spec": {"hostUsers": "no"}}), "no Pod"),
            (json!({"spec": 7}), "no Pod"),
        ] {
            let error = apply(pod(), &patch).expect_err(&patch.to_string()).to_string();
            assert!(error.starts_with("Pod patch") && error.contains(place), "{patch}: {error}");
        }
    }

    #[test]
    fn variables_of_one_name_become_one() {
        let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
        let patched =
            apply(pod(), &json!({"spec": {"containers": [{"name": "sandbox", "env": twice}]}})).unwrap();
        assert_eq!(patched.spec.unwrap().containers[0].env.as_ref().unwrap().len(), 2);
    }
}
