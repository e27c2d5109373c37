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

fn applied(patch: &Value) -> Result<Pod> {
    apply(pod(), &[patch])
}

#[test]
fn free_fields_are_merged_by_name() {
    let patched = applied(&json!({
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
    }))
    .unwrap();
    let spec = patched.spec.unwrap();
    assert_eq!(
        patched.metadata.labels.unwrap().keys().collect::<Vec<_>>(),
        ["sandbox.dev/id", "x"]
    );
    assert_eq!((spec.host_users, spec.containers.len()), (Some(false), 2));
    let main = &spec.containers[0];
    assert_eq!(main.command, Some(vec!["/s".to_owned()]));
    assert_eq!(
        (
            main.env.as_ref().unwrap().len(),
            main.volume_mounts.as_ref().unwrap().len()
        ),
        (2, 2)
    );
    assert_eq!(spec.volumes.unwrap().len(), 2);
}

#[test]
fn changes_to_protected_fields_are_refused() {
    let main = |change: Value| {
        let mut container = json!({"name": "sandbox"});
        container
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        json!({"spec": {"containers": [container]}})
    };
    let key = "SANDBOX_SSHD_HOST_KEY";
    for (patch, place) in [
        (json!([]), "object"),
        (json!(null), "object"),
        (json!({"metadata": {"name": "other"}}), "metadata"),
        (json!({"metadata": {"namespace": null}}), "metadata"),
        (json!({"metadata": {"finalizers": ["a/b"]}}), "metadata"),
        (json!({"metadata": {"ownerReferences": []}}), "metadata"),
        (json!({"metadata": {"labels": null}}), "labels"),
        (
            json!({"metadata": {"labels": {"sandbox.dev/id": "sbx-b"}}}),
            "labels",
        ),
        (
            json!({"metadata": {"annotations": {"sandbox.dev/ends-after": "1"}}}),
            "labels",
        ),
        (json!({"metadata": null}), "metadata"),
        (
            json!({"spec": {"activeDeadlineSeconds": null}}),
            "activeDeadlineSeconds",
        ),
        (
            json!({"spec": {"restartPolicy": "Always"}}),
            "restartPolicy",
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 3600}}),
            "terminationGrace",
        ),
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
        (
            json!({"spec": {"containers": []}, "status": {"phase": "Running"}}),
            "status",
        ),
        (main(json!({"image": "other"})), "image"),
        (main(json!({"command": ["sh"]})), "command"),
        (main(json!({"args": null, "command": null})), "command"),
        (main(json!({"env": null})), "keys"),
        (
            main(json!({"env": [{"name": key, "value": "mine"}]})),
            "keys",
        ),
        (
            main(json!({"volumeMounts": [{"name": "other", "mountPath": "/.sandbox"}]})),
            "server",
        ),
        (
            json!({"spec": {"nodeSelecter": {"a": "b"}}}),
            "spec.nodeSelecter",
        ),
        (
            main(json!({"securityContext": {"runAsRoot": true}})),
            "runAsRoot",
        ),
        (json!({"spec": {"hostUsers": "no"}}), "not a valid Pod"),
        (json!({"spec": 7}), "not a valid Pod"),
    ] {
        let error = applied(&patch).expect_err(&patch.to_string()).to_string();
        assert!(
            error.starts_with("Pod patch") && error.contains(place),
            "{patch}: {error}"
        );
    }
}

#[test]
fn variables_of_one_name_become_one() {
    let twice = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let patched =
        applied(&json!({"spec": {"containers": [{"name": "sandbox", "env": twice}]}})).unwrap();
    assert_eq!(
        patched.spec.unwrap().containers[0]
            .env
            .as_ref()
            .unwrap()
            .len(),
        2
    );
}
