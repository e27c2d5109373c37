//! A patch stays within the security profile.

use sandbox_k8s::options::{PodOptions, SecurityProfile};
use serde_json::{Value, json};

use crate::{beside, build, main, options, patched};

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
