//! What the SDK relies on survives every patch.

use sandbox_core::Error;
use serde_json::{Value, json};

use crate::{build_patched, patch_beside, patch_main};

fn env_from_keys() -> Value {
    json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d", "key": "client-key"}}}])
}

#[test]
fn a_patch_cannot_break_what_the_sdk_relies_on() {
    let keys = "SANDBOX_SSHD_AUTHORIZED_KEYS";
    let volume = |source: Value| {
        let mut volume = json!({"name": "v"});
        volume
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        json!({"spec": {"volumes": [volume]}})
    };
    let refused = [
        // Names, owner and labels.
        (json!({"metadata": {"name": "sbx-b"}}), "metadata"),
        (json!({"metadata": {"generateName": "x-"}}), "metadata"),
        (
            json!({"metadata": {"namespace": "kube-system"}}),
            "metadata",
        ),
        (json!({"metadata": {"uid": "u"}}), "metadata"),
        (json!({"metadata": {"resourceVersion": "1"}}), "metadata"),
        (
            json!({"metadata": {"deletionGracePeriodSeconds": 999}}),
            "metadata",
        ),
        (
            json!({"metadata": {"creationTimestamp": "2020-01-01T00:00:00Z"}}),
            "metadata",
        ),
        (json!({"metadata": {"finalizers": ["a/b"]}}), "metadata"),
        (json!({"metadata": {"ownerReferences": null}}), "metadata"),
        (
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "sbx-b-keys", "uid": "s2"}]}}),
            "metadata",
        ),
        (
            json!({"metadata": {"labels": {"sandbox.dev/id": null}}}),
            "sandbox.dev",
        ),
        (
            json!({"metadata": {"labels": {"sandbox.dev/managed-by": "x"}}}),
            "sandbox.dev",
        ),
        (
            json!({"metadata": {"labels": {"sandbox.dev/new": "x"}}}),
            "sandbox.dev",
        ),
        (json!({"metadata": {"labels": []}}), "Pod"),
        (json!({"metadata": {"annotations": null}}), "sandbox.dev"),
        (
            json!({"metadata": {"annotations": {"sandbox.dev/nonce": "x"}}}),
            "sandbox.dev",
        ),
        (
            json!({"metadata": {"annotations": {"a.sandbox.dev/x": "x"}}}),
            "sandbox.dev",
        ),
        (json!({"kind": "Secret"}), "not a valid Pod"),
        (json!({"apiVersion": "v2"}), "not a valid Pod"),
        // Lifetimes.
        (
            json!({"spec": {"activeDeadlineSeconds": 1 << 30}}),
            "activeDeadlineSeconds",
        ),
        (
            json!({"spec": {"activeDeadlineSeconds": null}}),
            "activeDeadlineSeconds",
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 3600}}),
            "terminationGracePeriod",
        ),
        (
            json!({"spec": {"restartPolicy": "OnFailure"}}),
            "restartPolicy",
        ),
        (json!({"spec": null}), "activeDeadlineSeconds"),
        (patch_main(json!({"restartPolicy": "Always"})), "restarts"),
        (patch_main(json!({"args": ["--ttl", "999999"]})), "args"),
        // The SDK's containers, in either list and under any name.
        (
            patch_main(json!({"name": "other", "$patch": "replace"})),
            "$patch",
        ),
        (
            json!({"spec": {"containers": [{"name": "sandbox", "image": null}]}}),
            "image",
        ),
        (
            json!({"spec": {"containers": [{"name": "sandbox"}, {"name": "sandbox", "image": "evil"}]}}),
            "image",
        ),
        (
            json!({"spec": {"containers": {"0": {"name": "sandbox"}}}}),
            "not a valid Pod",
        ),
        (
            json!({"spec": {"containers": [{"name": "sandbox-server", "image": "i"}]}}),
            "spec.containers",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "sandbox", "image": "i"}]}}),
            "spec.initContainers",
        ),
        (
            json!({"spec": {"initContainers": [{"name": "sandbox-server", "command": ["true"]}]}}),
            "initContainers",
        ),
        (json!({"spec": {"initContainers": null}}), "initContainers"),
        (
            patch_main(json!({"ports": [{"containerPort": 2222, "name": "other"}]})),
            "ports",
        ),
        (
            patch_main(json!({"ports": [{"containerPort": 23, "name": "ssh"}]})),
            "ports",
        ),
        (
            patch_main(json!({"terminationMessagePolicy": "File"})),
            "spec.containers",
        ),
        // Keys.
        (
            patch_main(json!({"env": [{"name": keys, "value": "mine", "valueFrom": null}]})),
            "keys",
        ),
        (
            patch_main(
                json!({"env": [{"name": keys, "valueFrom": {"secretKeyRef": {"name": "mine"}}}]}),
            ),
            "keys",
        ),
        (patch_main(json!({"env": env_from_keys()})), "Secret"),
        (
            patch_main(
                json!({"envFrom": [{"secretRef": {"name": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"}}]}),
            ),
            "Secret",
        ),
        (
            patch_beside("containers", json!({"env": env_from_keys()})),
            "Secret",
        ),
        (
            patch_beside(
                "initContainers",
                json!({"envFrom": [{"secretRef": {"name": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"}}]}),
            ),
            "Secret",
        ),
        (
            volume(json!({"secret": {"secretName": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"}})),
            "Secret",
        ),
        (
            volume(
                json!({"projected": {"sources": [{"secret": {"name": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"}}]}}),
            ),
            "Secret",
        ),
        (
            json!({"spec": {"imagePullSecrets": [{"name": "sbx-a-keys-k3v9q2xw7dk3v9q2xw7d"}]}}),
            "Secret",
        ),
        (
            volume(
                json!({"csi": {"driver": "d", "nodePublishSecretRef": {"name": "sbx-other-keys"}}}),
            ),
            "spec.volumes.csi.nodePublishSecretRef.name",
        ),
        (
            volume(json!({"secret": {"secretName": "web-keys-k3v9q2xw7dk3v9q2xw7d"}})),
            "spec.volumes.secret.secretName",
        ),
        (
            json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}}),
            "ephemeralContainers",
        ),
        // The server.
        (
            json!({"spec": {"volumes": [{"name": "sandbox-server", "emptyDir": null, "secret": {}}]}}),
            "server",
        ),
        (
            patch_main(json!({"volumeMounts": [{"mountPath": "/.sandbox", "readOnly": false}]})),
            "server",
        ),
        (
            patch_main(json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/w"}]})),
            "server",
        ),
        (
            patch_main(json!({"volumeMounts": [{"name": "v", "mountPath": "/.sandbox/"}]})),
            "SSH server",
        ),
        (
            patch_main(
                json!({"volumeMounts": [{"name": "v", "mountPath": "/./.sandbox/sandbox-sshd"}]}),
            ),
            "SSH server",
        ),
        (
            patch_main(json!({"volumeMounts": [{"name": "v", "mountPath": "/x/../.sandbox"}]})),
            "..",
        ),
        (
            patch_beside(
                "initContainers",
                json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/s"}]}),
            ),
            "SDK's",
        ),
        (
            patch_beside(
                "containers",
                json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/s"}]}),
            ),
            "SDK's",
        ),
        // Fields that no supported version of Kubernetes has.
        (json!({"spec": {"nodeSelecter": {}}}), "nodeSelecter"),
        (json!({"status": {"phase": "Running"}}), "status"),
    ];
    for (patch, expected) in refused {
        let error = build_patched(patch.clone()).expect_err(&patch.to_string());
        assert!(matches!(error, Error::Invalid { .. }), "{patch}: {error:?}");
        assert!(error.to_string().contains(expected), "{patch}: {error}");
    }
}
