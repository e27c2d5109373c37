//! The hosts that the probes and lifecycle hooks of a container reach.

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, TCPSocketAction};

/// Whether a probe or hook names another host than the Pod itself.
pub(super) fn has_probe_of_host(container: &Container) -> bool {
    let probes = [
        &container.liveness_probe,
        &container.readiness_probe,
        &container.startup_probe,
    ];
    let probes = probes.into_iter().flatten();
    let lifecycle = container.lifecycle.as_ref();
    let hooks = lifecycle.map(|lifecycle| [&lifecycle.post_start, &lifecycle.pre_stop]);
    let hooks = hooks.into_iter().flatten().flatten();
    probes
        .map(|probe| (&probe.http_get, &probe.tcp_socket))
        .chain(hooks.map(|hook| (&hook.http_get, &hook.tcp_socket)))
        .any(|(http, tcp)| names_host(http.as_ref(), tcp.as_ref()))
}

fn names_host(http: Option<&HTTPGetAction>, tcp: Option<&TCPSocketAction>) -> bool {
    let hosts = [
        http.and_then(|action| action.host.as_deref()),
        tcp.and_then(|action| action.host.as_deref()),
    ];
    hosts.into_iter().flatten().any(|host| !host.is_empty())
}
