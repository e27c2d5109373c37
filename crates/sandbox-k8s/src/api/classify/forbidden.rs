//! The many things that the API server says with a 403.

/// Who forbids it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A namespace's quota is used up, or wants limits.
    Quota,
    /// The Pod Security Standard of the namespace.
    PodSecurity,
    /// A policy: a webhook, a limit range, an admission policy.
    Policy,
    /// The namespace is being removed.
    NamespaceEnds,
    /// Something that a new namespace gets a moment after it was made.
    NotYet,
    /// We may not do it at all.
    Rbac,
}

/// Reads it off the message, which is all there is.
pub(super) fn cause(message: &str) -> Cause {
    let says = |signs: &[&str]| signs.iter().any(|sign| message.contains(sign));
    if says(&["exceeded quota", "failed quota", "insufficient quota"]) {
        Cause::Quota
    } else if says(&["violates PodSecurity"]) {
        Cause::PodSecurity
    } else if says(&["because it is being terminated"]) {
        Cause::NamespaceEnds
    } else if says(&[
        "serviceaccount \"default\" not found",
        "no API token found for service account",
        "not yet ready to handle request",
        // A quota's use is being counted.
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
        // Webhooks and policies can say the same, but name no user before it.
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

/// What can be done about a refusal, where its words do not say so.
pub(super) fn advice(message: &str) -> Option<&'static str> {
    let advice = [
        (
            "error looking up service account",
            "make that service account, or name another",
        ),
        (
            "RuntimeClass ",
            "ask which runtime classes the cluster has: kubectl get runtimeclasses",
        ),
        (
            "no PriorityClass with name",
            "ask which priority classes the cluster has: kubectl get priorityclasses",
        ),
        (
            "per Container is",
            "ask for what the namespace's LimitRange allows: kubectl get limitrange",
        ),
        (
            "per Pod is",
            "ask for what the namespace's LimitRange allows: kubectl get limitrange",
        ),
        (
            "must specify",
            "the namespace's quota wants each sandbox to have these limits: set them",
        ),
        (
            "exceeded quota",
            "delete what is not needed, ask for less, or have the quota raised",
        ),
    ];
    advice
        .into_iter()
        .find_map(|(sign, advice)| message.contains(sign).then_some(advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_messages_are_told_apart() {
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
                Cause::NamespaceEnds,
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
            assert_eq!(cause(message), expected, "{message}");
        }
    }
}
