//! The reasons for which the API server returns a 403. They differ only in the message.

/// What forbids the request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The namespace's quota is used up, or requires limits.
    Quota,
    /// The Pod Security Standard of the namespace.
    PodSecurity,
    /// A policy: a webhook, a limit range, an admission policy.
    Policy,
    /// The namespace is being deleted.
    NamespaceTerminating,
    /// An object is missing that a new namespace gets a moment after its creation.
    NotYet,
    /// The account lacks the permission.
    Rbac,
}

/// Derives the cause from the message.
pub(super) fn find_cause(message: &str) -> Cause {
    let says = |signs: &[&str]| signs.iter().any(|sign| message.contains(sign));
    if says(&["exceeded quota", "failed quota", "insufficient quota"]) {
        Cause::Quota
    } else if says(&["violates PodSecurity"]) {
        Cause::PodSecurity
    } else if says(&["because it is being terminated"]) {
        Cause::NamespaceTerminating
    } else if says(&[
        "serviceaccount \"default\" not found",
        "no API token found for service account",
        "not yet ready to handle request",
        // The usage of a quota has not been counted yet.
        "status unknown for quota",
    ]) {
        Cause::NotYet
    } else if says(&[
        "cannot create ",
        "cannot get ",
        "cannot list ",
        "cannot watch ",
        "cannot delete ",
        "cannot patch ",
    ]) {
        // Webhooks and policies may use the same words, but name no user before them.
        if message.contains("User \"") {
            Cause::Rbac
        } else {
            Cause::Policy
        }
    } else if message.is_empty() {
        Cause::Rbac
    } else {
        Cause::Policy
    }
}

/// What to do about a rejection, if the message does not say so itself.
pub(super) fn hint(message: &str) -> Option<&'static str> {
    let hints = [
        (
            "error looking up service account",
            "create that service account, or name another",
        ),
        (
            "RuntimeClass ",
            "list the runtime classes of the cluster: kubectl get runtimeclasses",
        ),
        (
            "no PriorityClass with name",
            "list the priority classes of the cluster: kubectl get priorityclasses",
        ),
        (
            "per Container is",
            "stay within the namespace's LimitRange: kubectl get limitrange",
        ),
        (
            "per Pod is",
            "stay within the namespace's LimitRange: kubectl get limitrange",
        ),
        (
            "must specify",
            "the namespace's quota requires these limits: set them",
        ),
        (
            "exceeded quota",
            "delete unused sandboxes, request less, or have the quota raised",
        ),
    ];
    hints
        .into_iter()
        .find_map(|(sign, hint)| message.contains(sign).then_some(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_messages_are_classified() {
        for (message, expected) in [
            (
                r#"pods "test-pod" is forbidden: exceeded quota: money-claims-quota, requested: requests.cpu=20,requests.memory=60Gi, used: requests.cpu=32575m,requests.memory=90368Mi, limited: requests.cpu=50,requests.memory=140Gi"#,
                Cause::Quota,
            ),
            (
                r#"pods "x" is forbidden: failed quota: compute: must specify limits.cpu for: sandbox; limits.memory for: sandbox"#,
                Cause::Quota,
            ),
            (
                r#"pods "cloudflared" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "cloudflared" must set securityContext.allowPrivilegeEscalation=false)"#,
                Cause::PodSecurity,
            ),
            (
                r#"pods "x" is forbidden: maximum cpu usage per Container is 1, but limit is 2"#,
                Cause::Policy,
            ),
            (
                r#"admission webhook "validate.kyverno.svc" denied the request: policy: you cannot create pods here"#,
                Cause::Policy,
            ),
            (
                r#"pods "x" is forbidden: unable to create new content in namespace ns because it is being terminated"#,
                Cause::NamespaceTerminating,
            ),
            (
                r#"pods "redis" is forbidden: error looking up service account default/default: serviceaccount "default" not found"#,
                Cause::NotYet,
            ),
            (
                r#"pods "x" is forbidden: status unknown for quota: q, resources: pods"#,
                Cause::NotYet,
            ),
            (
                r#"pods "web-app" is forbidden: error looking up service account production/web-app-role: serviceaccount "web-app-role" not found"#,
                Cause::Policy,
            ),
            (
                r#"pods is forbidden: User "system:serviceaccount:mt-nodered:create-pod" cannot create resource "pods" in API group "" in the namespace "default""#,
                Cause::Rbac,
            ),
            (
                r#"pods "x-2sd5z" is forbidden: User "system:serviceaccount:sebgoa:default" cannot create pods/exec in the namespace "sebgoa""#,
                Cause::Rbac,
            ),
            ("", Cause::Rbac),
        ] {
            assert_eq!(find_cause(message), expected, "{message}");
        }
    }
}
