//! Checks a Pod, with its options and patches, against the Pod Security Standard of its profile.
//! <https://kubernetes.io/docs/concepts/security/pod-security-standards/>

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, EphemeralContainer, Pod, PodSecurityContext, PodSpec,
    SELinuxOptions, SeccompProfile, SecurityContext, Volume,
};
use sandbox_core::{Error, Result};

use super::probes::has_probe_of_host;
use crate::manifest::options::SecurityProfile;

/// The capabilities that a container may add under the profile Baseline.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

const SYSCTLS: [&str; 9] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
];

const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The annotation that sets the AppArmor profile before version 1.30.
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Checks a Pod against a profile.
///
/// # Errors
///
/// [`Error::Invalid`] with the first field that the profile does not allow.
pub(super) fn check(pod: &Pod, profile: &SecurityProfile) -> Result<()> {
    let (name, broken) = match profile {
        SecurityProfile::Custom { .. } => return Ok(()),
        SecurityProfile::Baseline => ("Baseline", baseline_violation(pod)),
        SecurityProfile::Restricted => (
            "Restricted",
            baseline_violation(pod).or_else(|| restricted_violation(pod)),
        ),
    };
    match broken {
        Some(field) => Err(Error::invalid(
            "field of the Pod",
            field,
            format!(
                "the security profile {name} does not allow it; remove it, or choose a profile that does \
                 (SecurityProfile::Custom allows everything)"
            ),
        )),
        None => Ok(()),
    }
}

/// Returns the strictest Pod Security Standard that a Pod meets, including what was added to it since it runs.
pub(crate) fn security_level(pod: &Pod) -> &'static str {
    match (baseline_violation(pod), restricted_violation(pod)) {
        (Some(_), _) => "privileged",
        (None, Some(_)) => "baseline",
        (None, None) => "restricted",
    }
}

fn baseline_violation(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let none = PodSecurityContext::default();
    let whole = spec.security_context.as_ref().unwrap_or(&none);
    let sysctls = || whole.sysctls.iter().flatten();
    let volumes = || spec.volumes.iter().flatten();
    let annotated = |(key, value): (&String, &String)| {
        key.starts_with(APP_ARMOR) && value != "runtime/default" && !value.starts_with("localhost/")
    };
    let found = [
        (spec.host_network == Some(true), "spec.hostNetwork"),
        (spec.host_pid == Some(true), "spec.hostPID"),
        (spec.host_ipc == Some(true), "spec.hostIPC"),
        (
            volumes().any(|volume| volume.host_path.is_some()),
            "spec.volumes: hostPath",
        ),
        (
            pod.metadata.annotations.iter().flatten().any(annotated),
            "metadata.annotations: AppArmor",
        ),
        (
            is_host_process(whole.windows_options.as_ref().and_then(|w| w.host_process)),
            "spec.securityContext.windowsOptions",
        ),
        (
            has_selinux_labels(whole.se_linux_options.as_ref()),
            "spec.securityContext.seLinuxOptions",
        ),
        (
            is_unconfined(whole.seccomp_profile.as_ref()),
            "spec.securityContext.seccompProfile",
        ),
        (
            is_without_apparmor(whole.app_armor_profile.as_ref()),
            "spec.securityContext.appArmorProfile",
        ),
        (
            sysctls().any(|ctl| !SYSCTLS.contains(&ctl.name.as_str())),
            "spec.securityContext.sysctls",
        ),
    ];
    found
        .into_iter()
        .find_map(|(broken, field)| broken.then(|| field.to_owned()))
        .or_else(|| find_in_containers(spec, baseline_container_violation))
}

fn baseline_container_violation(
    container: &Container,
    own: &SecurityContext,
) -> Option<&'static str> {
    let ports = || container.ports.iter().flatten();
    let [added, _] = added_and_dropped_capabilities(own);
    [
        (own.privileged == Some(true), "securityContext.privileged"),
        (
            added
                .iter()
                .any(|name| !CAPABILITIES.contains(&name.as_str())),
            "securityContext.capabilities.add",
        ),
        (
            ports().any(|port| port.host_port.is_some_and(|port| port != 0)),
            "ports: hostPort",
        ),
        (
            own.proc_mount
                .as_deref()
                .is_some_and(|mount| mount != "Default"),
            "securityContext.procMount",
        ),
        // The kubelet would send the requests of probes and hooks, from the node's network.
        (
            has_probe_of_host(container),
            "host of a probe or lifecycle hook",
        ),
        (
            is_host_process(own.windows_options.as_ref().and_then(|w| w.host_process)),
            "securityContext.windowsOptions",
        ),
        (
            has_selinux_labels(own.se_linux_options.as_ref()),
            "securityContext.seLinuxOptions",
        ),
        (
            is_unconfined(own.seccomp_profile.as_ref()),
            "securityContext.seccompProfile",
        ),
        (
            is_without_apparmor(own.app_armor_profile.as_ref()),
            "securityContext.appArmorProfile",
        ),
    ]
    .into_iter()
    .find_map(|(broken, field)| broken.then_some(field))
}

fn restricted_violation(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let none = PodSecurityContext::default();
    let whole = spec.security_context.as_ref().unwrap_or(&none);
    if let Some(kind) = spec.volumes.iter().flatten().find_map(unlisted_volume_type) {
        return Some(format!("spec.volumes: {kind}"));
    }
    if whole.run_as_user == Some(0) {
        return Some("spec.securityContext.runAsUser".to_owned());
    }
    find_in_containers(spec, |_, own| {
        let [added, dropped] = added_and_dropped_capabilities(own);
        let non_root = own.run_as_non_root.or(whole.run_as_non_root);
        let seccomp = own
            .seccomp_profile
            .as_ref()
            .or(whole.seccomp_profile.as_ref());
        [
            (
                own.allow_privilege_escalation != Some(false),
                "securityContext.allowPrivilegeEscalation",
            ),
            (
                !dropped.iter().any(|name| name == "ALL"),
                "securityContext.capabilities.drop",
            ),
            (
                added.iter().any(|name| name != "NET_BIND_SERVICE"),
                "securityContext.capabilities.add",
            ),
            (non_root != Some(true), "securityContext.runAsNonRoot"),
            (own.run_as_user == Some(0), "securityContext.runAsUser"),
            (
                seccomp.is_none() || is_unconfined(seccomp),
                "securityContext.seccompProfile",
            ),
        ]
        .into_iter()
        .find_map(|(broken, field)| broken.then_some(field))
    })
}

/// Returns the first field that a check reports in any container.
fn find_in_containers(
    spec: &PodSpec,
    check: impl Fn(&Container, &SecurityContext) -> Option<&'static str>,
) -> Option<String> {
    let none = SecurityContext::default();
    let first = spec
        .init_containers
        .iter()
        .flatten()
        .map(|container| ("initContainers", container));
    let others = spec
        .containers
        .iter()
        .map(|container| ("containers", container));
    // The standard counts those that debug a running Pod, too.
    let ephemeral: Vec<_> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(to_container)
        .collect();
    let debuggers = ephemeral
        .iter()
        .map(|container| ("ephemeralContainers", container));
    first
        .chain(others)
        .chain(debuggers)
        .find_map(|(list, container)| {
            let field = check(
                container,
                container.security_context.as_ref().unwrap_or(&none),
            )?;
            Some(format!("spec.{list}: {}: {field}", container.name))
        })
}

/// Returns the fields of an ephemeral container that the standard restricts.
fn to_container(ephemeral: &EphemeralContainer) -> Container {
    Container {
        name: ephemeral.name.clone(),
        lifecycle: ephemeral.lifecycle.clone(),
        liveness_probe: ephemeral.liveness_probe.clone(),
        ports: ephemeral.ports.clone(),
        readiness_probe: ephemeral.readiness_probe.clone(),
        security_context: ephemeral.security_context.clone(),
        startup_probe: ephemeral.startup_probe.clone(),
        ..Container::default()
    }
}

fn added_and_dropped_capabilities(own: &SecurityContext) -> [&[String]; 2] {
    let own = own.capabilities.as_ref();
    let added = own.and_then(|own| own.add.as_deref()).unwrap_or_default();
    let dropped = own.and_then(|own| own.drop.as_deref()).unwrap_or_default();
    [added, dropped]
}

fn is_host_process(host_process: Option<bool>) -> bool {
    host_process == Some(true)
}

fn has_selinux_labels(options: Option<&SELinuxOptions>) -> bool {
    let set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    options.is_some_and(|options| {
        let types = [
            "",
            "container_t",
            "container_init_t",
            "container_kvm_t",
            "container_engine_t",
        ];
        set(&options.user)
            || set(&options.role)
            || options
                .type_
                .as_deref()
                .is_some_and(|t| !types.contains(&t))
    })
}

fn is_unconfined(profile: Option<&SeccompProfile>) -> bool {
    profile
        .is_some_and(|profile| !["RuntimeDefault", "Localhost"].contains(&profile.type_.as_str()))
}

fn is_without_apparmor(profile: Option<&AppArmorProfile>) -> bool {
    profile
        .is_some_and(|profile| !["RuntimeDefault", "Localhost"].contains(&profile.type_.as_str()))
}

/// Returns the type of a volume that is not in [`VOLUMES`].
fn unlisted_volume_type(volume: &Volume) -> Option<String> {
    // The text form is used, because later versions of Kubernetes have more types.
    let written = serde_json::to_value(volume).ok()?;
    let fields = written.as_object()?.keys();
    fields
        .filter(|field| *field != "name")
        .find(|field| !VOLUMES.contains(&field.as_str()))
        .cloned()
}
