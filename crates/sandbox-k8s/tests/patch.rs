//! What a raw patch and the options cannot do, tried on whole Pods.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Error, Result, SandboxId, SandboxSpec, Uid};
use sandbox_k8s::internals::pod::{self, PodParams};
use sandbox_k8s::options::{InjectVia, Injection, KubernetesOptions, PodOptions, SecurityProfile};
use sandbox_k8s::options::{VolumeAt, VolumeSource};
use serde_json::{Value, json};

fn options() -> KubernetesOptions {
    let mut options = KubernetesOptions::default();
    options.server_image = Some("server:1".into());
    options.injection = Injection::Inject(InjectVia::InitContainer);
    options
}

fn build(own: &PodOptions, options: &KubernetesOptions) -> Result<Pod> {
    let id: SandboxId = "sbx-a".parse().unwrap();
    let mut spec = SandboxSpec::default();
    spec.image = Some("python:3.12-slim".into());
    pod::build(PodParams {
        id: &id,
        namespace: "ns",
        nonce: "n",
        secret: &Uid::new("s1"),
        spec: &spec,
        options,
        pod: own,
    })
}

fn patched(patch: Value) -> Result<Pod> {
    build(&PodOptions::new().patch(patch), &options())
}

/// A patch of our container.
fn main(change: Value) -> Value {
    let mut container = json!({"name": "sandbox"});
    container
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    json!({"spec": {"containers": [container]}})
}

/// A patch that adds a container to either list.
fn beside(list: &str, change: Value) -> Value {
    let mut container = json!({"name": "beside", "image": "i"});
    container
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    json!({"spec": {list: [container]}})
}

fn from_keys() -> Value {
    json!([{"name": "K", "valueFrom": {"secretKeyRef": {"name": "sbx-a-keys", "key": "client-key"}}}])
}

#[test]
fn no_patch_undoes_what_the_sdk_relies_on() {
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
        (json!({"kind": "Secret"}), "no Pod"),
        (json!({"apiVersion": "v2"}), "no Pod"),
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
        (main(json!({"restartPolicy": "Always"})), "restarts"),
        (main(json!({"args": ["--ttl", "999999"]})), "args"),
        // Our containers, by whatever list and name.
        (
            main(json!({"name": "other", "$patch": "replace"})),
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
            "no Pod",
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
            main(json!({"ports": [{"containerPort": 2222, "name": "other"}]})),
            "ports",
        ),
        (
            main(json!({"ports": [{"containerPort": 23, "name": "ssh"}]})),
            "ports",
        ),
        (
            main(json!({"terminationMessagePolicy": "File"})),
            "spec.containers",
        ),
        // Keys.
        (
            main(json!({"env": [{"name": keys, "value": "mine", "valueFrom": null}]})),
            "keys",
        ),
        (
            main(json!({"env": [{"name": keys, "valueFrom": {"secretKeyRef": {"name": "mine"}}}]})),
            "keys",
        ),
        (main(json!({"env": from_keys()})), "Secret"),
        (
            main(json!({"envFrom": [{"secretRef": {"name": "sbx-a-keys"}}]})),
            "Secret",
        ),
        (beside("containers", json!({"env": from_keys()})), "Secret"),
        (
            beside(
                "initContainers",
                json!({"envFrom": [{"secretRef": {"name": "sbx-a-keys"}}]}),
            ),
            "Secret",
        ),
        (
            volume(json!({"secret": {"secretName": "sbx-a-keys"}})),
            "Secret",
        ),
        (
            volume(json!({"projected": {"sources": [{"secret": {"name": "sbx-a-keys"}}]}})),
            "Secret",
        ),
        (
            json!({"spec": {"imagePullSecrets": [{"name": "sbx-a-keys"}]}}),
            "Secret",
        ),
        // The server.
        (
            json!({"spec": {"volumes": [{"name": "sandbox-server", "emptyDir": null, "secret": {}}]}}),
            "server",
        ),
        (
            main(json!({"volumeMounts": [{"mountPath": "/.sandbox", "readOnly": false}]})),
            "server",
        ),
        (
            main(json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/w"}]})),
            "server",
        ),
        (
            main(json!({"volumeMounts": [{"name": "v", "mountPath": "/.sandbox/"}]})),
            "SSH server",
        ),
        (
            main(json!({"volumeMounts": [{"name": "v", "mountPath": "/./.sandbox/sandbox-sshd"}]})),
            "SSH server",
        ),
        (
            main(json!({"volumeMounts": [{"name": "v", "mountPath": "/x/../.sandbox"}]})),
            "..",
        ),
        (
            beside(
                "initContainers",
                json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/s"}]}),
            ),
            "SDK's",
        ),
        (
            beside(
                "containers",
                json!({"volumeMounts": [{"name": "sandbox-server", "mountPath": "/s"}]}),
            ),
            "SDK's",
        ),
        // What no version that this was built for has.
        (json!({"spec": {"nodeSelecter": {}}}), "nodeSelecter"),
        (json!({"status": {"phase": "Running"}}), "status"),
    ];
    for (patch, said) in refused {
        let error = patched(patch.clone()).expect_err(&patch.to_string());
        assert!(matches!(error, Error::Invalid { .. }), "{patch}: {error:?}");
        assert!(error.to_string().contains(said), "{patch}: {error}");
    }
}

#[test]
fn no_patch_loosens_the_profile() {
    let context = |change: Value| main(json!({"securityContext": change}));
    // The first are too much for Baseline as well.
    let refused = [
        (
            true,
            json!({"spec": {"hostNetwork": true}}),
            "spec.hostNetwork",
        ),
        (true, json!({"spec": {"hostPID": true}}), "spec.hostPID"),
        (true, json!({"spec": {"hostIPC": true}}), "spec.hostIPC"),
        (
            true,
            json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}}),
            "hostPath",
        ),
        (
            true,
            json!({"spec": {"securityContext": {"sysctls": [{"name": "kernel.core_pattern", "value": "|x"}]}}}),
            "sysctls",
        ),
        (
            true,
            json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}),
            "seccompProfile",
        ),
        (
            true,
            context(json!({"privileged": true})),
            "containers: sandbox: securityContext.privileged",
        ),
        (
            true,
            context(json!({"capabilities": {"add": ["SYS_ADMIN"]}})),
            "capabilities.add",
        ),
        (true, context(json!({"procMount": "Unmasked"})), "procMount"),
        (
            true,
            context(json!({"seccompProfile": {"type": "Unconfined"}})),
            "seccompProfile",
        ),
        (
            true,
            context(json!({"seLinuxOptions": {"type": "spc_t"}})),
            "seLinuxOptions",
        ),
        (
            true,
            context(json!({"appArmorProfile": {"type": "Unconfined"}})),
            "appArmorProfile",
        ),
        (
            true,
            context(json!({"windowsOptions": {"hostProcess": true}})),
            "windowsOptions",
        ),
        (
            true,
            beside(
                "containers",
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            ),
            "hostPort",
        ),
        (
            true,
            beside(
                "initContainers",
                json!({"securityContext": {"privileged": true}}),
            ),
            "initContainers: beside",
        ),
        (
            true,
            json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/sandbox": "unconfined"}}}),
            "AppArmor",
        ),
        (
            false,
            json!({"spec": {"securityContext": null}}),
            "runAsNonRoot",
        ),
        (
            false,
            json!({"spec": {"securityContext": {"runAsNonRoot": false}}}),
            "runAsNonRoot",
        ),
        (
            false,
            json!({"spec": {"securityContext": {"runAsUser": 0}}}),
            "runAsUser",
        ),
        (
            false,
            json!({"spec": {"securityContext": {"seccompProfile": null}}}),
            "seccompProfile",
        ),
        (
            false,
            json!({"spec": {"volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}]}}),
            "nfs",
        ),
        (false, context(json!({"runAsUser": 0})), "runAsUser"),
        (
            false,
            context(json!({"runAsNonRoot": false})),
            "runAsNonRoot",
        ),
        (
            false,
            context(json!({"allowPrivilegeEscalation": true})),
            "allowPrivilegeEscalation",
        ),
        (
            false,
            context(json!({"capabilities": {"add": ["SYS_CHROOT"]}})),
            "capabilities.add",
        ),
        (
            false,
            context(json!({"capabilities": {"drop": ["KILL"]}})),
            "capabilities.drop",
        ),
    ];
    for (also, patch, field) in refused {
        for (profile, refused) in [
            (SecurityProfile::Restricted, true),
            (SecurityProfile::Baseline, also),
            (custom(), false),
        ] {
            let own = PodOptions::new()
                .security_profile(profile.clone())
                .patch(patch.clone());
            match build(&own, &options()) {
                Ok(_) => assert!(!refused, "{profile:?} allows {patch}"),
                Err(error) => {
                    assert!(refused, "{profile:?} {patch}: {error}");
                    assert!(error.to_string().contains(field), "{patch}: {error}");
                }
            }
        }
    }
}

fn custom() -> SecurityProfile {
    SecurityProfile::Custom {
        pod: Box::default(),
        container: Box::default(),
    }
}

#[test]
fn what_a_patch_adds_is_restricted_as_the_rest() {
    let mut patch = beside(
        "containers",
        json!({"securityContext": {"readOnlyRootFilesystem": true}}),
    );
    patch["spec"]["initContainers"] = json!([{"name": "first", "image": "i"}]);
    // What it takes away comes back.
    let ours = json!({"name": "sandbox", "securityContext": null});
    patch["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(ours);
    let spec = patched(patch).unwrap().spec.unwrap();
    let all: Vec<_> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .collect();
    assert_eq!(all.len(), 4);
    for container in all {
        let context = container.security_context.as_ref().unwrap();
        assert_eq!(
            context.allow_privilege_escalation,
            Some(false),
            "{}",
            container.name
        );
        let dropped = context.capabilities.as_ref().unwrap().drop.as_deref();
        assert_eq!(
            dropped,
            Some(["ALL".to_owned()].as_slice()),
            "{}",
            container.name
        );
    }
}

#[test]
fn two_patches_are_applied_one_after_the_other() {
    let mut all = options();
    all.pod = PodOptions::new().node_selector("disk", "ssd").patch(json!({"spec": {
        "hostname": "all", "subdomain": "boxes",
        "containers": [{"name": "sandbox", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]}],
    }}));
    let own = PodOptions::new().patch(json!({"spec": {
        "hostname": "own", "subdomain": null, "nodeSelector": null,
        "containers": [{"name": "sandbox", "env": [{"name": "B", "value": "2"}]}],
    }}));
    let spec = build(&own, &all).unwrap().spec.unwrap();
    assert_eq!(
        (spec.hostname.as_deref(), spec.subdomain, spec.node_selector),
        (Some("own"), None, None)
    );
    let variables = spec.containers[0].env.as_ref().unwrap().iter();
    let values: Vec<_> = variables
        .filter_map(|variable| variable.value.as_deref())
        .collect();
    assert_eq!(values, ["1", "2"]);
    // And the second is held to the same as the first.
    let own = PodOptions::new().patch(json!({"spec": {"hostPID": true}}));
    assert!(build(&own, &all).is_err());
}

#[test]
fn nor_do_the_options() {
    let volume = |path: &str, source| PodOptions::new().volume(VolumeAt::new("v", path, source));
    let empty = || VolumeSource::EmptyDir(None);
    let keys = || VolumeSource::Secret("sbx-a-keys".into());
    for (own, said) in [
        (volume("/x", keys()), "own keys"),
        (
            PodOptions::new().image_pull_secret("sbx-a-keys"),
            "own keys",
        ),
        (volume("/.sandbox", empty()), "SSH server"),
        (volume("/./.sandbox/x", empty()), "SSH server"),
        (
            PodOptions::new().annotation("sandbox.dev/nonce", "x"),
            "SDK's own",
        ),
        (PodOptions::new().request("nvidia.com/gpu", "1"), "extended"),
        (
            PodOptions::new().extended_resource("cpu", "1"),
            "nvidia.com/gpu",
        ),
        (PodOptions::new().run_as_user(0), "user 0"),
    ] {
        let error = build(&own, &options()).expect_err(said).to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    let mut baked = options();
    baked.injection = Injection::baked();
    let error = build(&volume("/usr/local", empty()), &baked)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/usr/local") && error.contains("SSH server"),
        "{error}"
    );
    build(&volume("/usr/share", empty()), &baked).unwrap();
}
