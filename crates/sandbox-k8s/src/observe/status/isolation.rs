//! Describes what separates a Pod's processes from its node, according to the Pod. What the network
//! allows is not in a Pod, but in the policies of its namespace.

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, PodSpec, SecurityContext};

use crate::manifest::pod::{has_service_account_token, security_level};

/// Returns one text for people per property.
pub(super) fn describe(pod: &Pod, main: Option<&Container>) -> Vec<String> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let mut applied = vec![format!("Pod Security {}", security_level(pod))];
    applied.extend(
        spec.runtime_class_name
            .as_ref()
            .map(|class| format!("runtime class {class}")),
    );
    let none = PodSecurityContext::default();
    let whole = spec.security_context.as_ref().unwrap_or(&none);
    let nothing = SecurityContext::default();
    let own = main
        .and_then(|main| main.security_context.as_ref())
        .unwrap_or(&nothing);
    applied.extend(describe_user(own, whole));
    applied.extend(describe_capabilities(own));
    let privileged = own.privileged == Some(true);
    let properties = [
        (
            own.allow_privilege_escalation == Some(false) && !privileged,
            "no privilege escalation",
        ),
        (
            own.read_only_root_filesystem == Some(true),
            "read-only root",
        ),
        (!has_service_account_token(spec), "no service account token"),
        (spec.host_users == Some(false), "user namespace"),
    ];
    applied.extend(
        properties
            .into_iter()
            .filter(|(holds, _)| *holds)
            .map(|(_, word)| word.to_owned()),
    );
    // A privileged container has no seccomp filter, whatever its profile.
    applied.extend(describe_seccomp(own, whole).filter(|_| !privileged));
    applied.extend(describe_shared_namespaces(spec));
    applied
}

fn describe_user(own: &SecurityContext, whole: &PodSecurityContext) -> Option<String> {
    match own.run_as_user.or(whole.run_as_user) {
        Some(0) => None,
        Some(user) => Some(format!("user {user}")),
        None => own
            .run_as_non_root
            .or(whole.run_as_non_root)?
            .then(|| "not root".to_owned()),
    }
}

fn describe_capabilities(own: &SecurityContext) -> Option<String> {
    let capabilities = own
        .capabilities
        .as_ref()
        .filter(|_| own.privileged != Some(true))?;
    capabilities
        .drop
        .iter()
        .flatten()
        .find(|name| *name == "ALL")?;
    Some(match capabilities.add.as_deref().unwrap_or_default() {
        [] => "no capabilities".to_owned(),
        added => format!("no capabilities but {}", added.join(", ")),
    })
}

fn describe_seccomp(own: &SecurityContext, whole: &PodSecurityContext) -> Option<String> {
    let profile = own
        .seccomp_profile
        .as_ref()
        .or(whole.seccomp_profile.as_ref())?;
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Unconfined", _) => None,
        (_, Some(name)) => Some(format!("seccomp {name}")),
        (kind, None) => Some(format!("seccomp {kind}")),
    }
}

/// Describes the namespaces that the Pod shares with its node.
fn describe_shared_namespaces(spec: &PodSpec) -> Option<String> {
    let shared = [
        (spec.host_network, "network"),
        (spec.host_pid, "processes"),
        (spec.host_ipc, "ipc"),
    ];
    let shared: Vec<_> = shared
        .into_iter()
        .filter(|(host, _)| *host == Some(true))
        .map(|(_, name)| name)
        .collect();
    (!shared.is_empty()).then(|| format!("shares the node's {}", shared.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn described(spec: Value) -> Vec<String> {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let main = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        describe(&pod, main)
    }

    #[test]
    fn a_restricted_pod_is_described_in_full() {
        let applied = described(json!({
            "automountServiceAccountToken": false, "runtimeClassName": "gvisor", "hostUsers": false,
            "securityContext": {"runAsUser": 1000, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "sandbox", "securityContext": {
                "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true}}],
        }));
        let expected = [
            "Pod Security restricted",
            "runtime class gvisor",
            "user 1000",
            "no capabilities",
            "no privilege escalation",
            "read-only root",
            "no service account token",
            "user namespace",
            "seccomp RuntimeDefault",
        ];
        assert_eq!(applied, expected);
    }

    #[test]
    fn only_what_applies_is_described() {
        assert_eq!(
            described(json!({"containers": [{"name": "sandbox"}]})),
            ["Pod Security baseline"]
        );
        let privileged = described(json!({
            "hostNetwork": true, "hostPID": true,
            "securityContext": {"runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "sandbox", "securityContext": {
                "privileged": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}],
        }));
        assert_eq!(
            privileged,
            [
                "Pod Security privileged",
                "shares the node's network, processes"
            ]
        );
        let token = described(json!({
            "automountServiceAccountToken": false, "containers": [{"name": "sandbox"}],
            "volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        }));
        assert_eq!(token, ["Pod Security baseline"]);
        let debugged = described(json!({
            "containers": [{"name": "sandbox"}],
            "ephemeralContainers": [{"name": "debugger", "securityContext": {"privileged": true}}],
        }));
        assert_eq!(debugged, ["Pod Security privileged"]);
        let some = described(json!({
            "securityContext": {"seccompProfile": {"type": "Unconfined"}},
            "containers": [{"name": "sandbox", "securityContext": {"capabilities": {"add": ["CHOWN"], "drop": ["ALL"]}}}],
        }));
        assert_eq!(
            some,
            ["Pod Security privileged", "no capabilities but CHOWN"]
        );
    }
}
