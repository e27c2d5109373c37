//! A patch stays within the security profile.

use sandbox_k8s::options::{PodOptions, SecurityProfile};
use serde_json::{Value, json};

use crate::{build, build_patched, options, patch_beside, patch_main};

#[test]
fn a_patch_cannot_loosen_the_security_profile() {
    let context = |change: Value| patch_main(json!({"securityContext": change}));
    // `true` marks what Baseline refuses as well.
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
            patch_beside(
                "containers",
                json!({"ports": [{"containerPort": 80, "hostPort": 80}]}),
            ),
            "hostPort",
        ),
        (
            true,
            patch_beside(
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
        // Requests by the kubelet to another host.
        (
            true,
            patch_main(
                json!({"lifecycle": {"postStart": {"httpGet": {"host": "169.254.169.254", "port": 80}}}}),
            ),
            "containers: sandbox: host of",
        ),
        (
            true,
            patch_main(
                json!({"lifecycle": {"preStop": {"tcpSocket": {"host": "10.0.0.1", "port": 22}}}}),
            ),
            "host of",
        ),
        (
            true,
            patch_main(json!({"livenessProbe": {"tcpSocket": {"host": "10.0.0.1", "port": 22}}})),
            "host of",
        ),
        (
            true,
            patch_main(json!({"readinessProbe": {"httpGet": {"host": "db", "port": 80}}})),
            "host of",
        ),
        (
            true,
            patch_beside(
                "containers",
                json!({"startupProbe": {"httpGet": {"host": "db", "port": 80}}}),
            ),
            "containers: beside: host of",
        ),
        // Credentials of the cluster.
        (
            true,
            json!({"spec": {"automountServiceAccountToken": true}}),
            "automountServiceAccountToken",
        ),
        (
            true,
            json!({"spec": {"automountServiceAccountToken": null}}),
            "automountServiceAccountToken",
        ),
        (
            true,
            json!({"spec": {"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}}),
            "projected: serviceAccountToken",
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
fn probes_of_the_pod_itself_are_free() {
    for probe in [
        json!({"livenessProbe": {"tcpSocket": {"port": 22, "host": ""}}}),
        json!({"readinessProbe": {"httpGet": {"port": 80, "path": "/"}}}),
        json!({"lifecycle": {"preStop": {"exec": {"command": ["true"]}}}}),
    ] {
        build_patched(patch_main(probe)).unwrap();
    }
}

#[test]
fn containers_added_by_a_patch_are_restricted_too() {
    let mut patch = patch_beside(
        "containers",
        json!({"securityContext": {"readOnlyRootFilesystem": true}}),
    );
    patch["spec"]["initContainers"] = json!([{"name": "first", "image": "i"}]);
    // A restriction that the patch removes is restored.
    let unrestricted = json!({"name": "sandbox", "securityContext": null});
    patch["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(unrestricted);
    let spec = build_patched(patch).unwrap().spec.unwrap();
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
