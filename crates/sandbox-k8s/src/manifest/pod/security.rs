//! The security contexts of the Pod and its containers.

use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use sandbox_core::{Error, Result};

use crate::manifest::options::{Injection, SecurityProfile};

/// The security contexts of the Pod and of each container.
pub(super) struct Restrictions {
    pub(super) pod: Option<PodSecurityContext>,
    container: Option<SecurityContext>,
}

/// Returns the security contexts of a profile.
///
/// # Errors
///
/// [`Error::Config`] for an image sshd, or a user, that the profile does not allow.
pub(super) fn check(
    profile: &SecurityProfile,
    run_as: Option<u32>,
    injection: &Injection,
) -> Result<Restrictions> {
    if let (SecurityProfile::Restricted, Injection::Image(server)) = (profile, injection) {
        let obstacle = match (server.user.as_str(), server.port) {
            ("root", _) => Some("it logs in as root".to_owned()),
            (_, port @ ..1024) => Some(format!("it listens on port {port}, below 1024")),
            _ => None,
        };
        if let Some(obstacle) = obstacle {
            return Err(Error::Config {
                message: format!(
                    "the image's own SSH server needs root ({obstacle}), and the security profile Restricted \
                     has none: choose the profile Baseline (SANDBOX_SECURITY_PROFILE=baseline), or an image \
                     whose server runs as an ordinary user"
                ),
            });
        }
    }
    if let (SecurityProfile::Restricted, Some(0)) = (profile, run_as) {
        return Err(Error::Config {
            message: "the security profile Restricted never runs as user 0: choose another user \
                      (SANDBOX_RUN_AS), or the profile Baseline (SANDBOX_SECURITY_PROFILE=baseline)"
                .into(),
        });
    }
    Ok(restrictions(profile, run_as))
}

fn restrictions(profile: &SecurityProfile, run_as: Option<u32>) -> Restrictions {
    let seccomp = Some(SeccompProfile {
        localhost_profile: None,
        type_: "RuntimeDefault".into(),
    });
    let user = run_as.map(i64::from);
    match profile {
        SecurityProfile::Restricted => Restrictions {
            pod: Some(PodSecurityContext {
                // It allows the user to write volumes; without volumes it has no effect.
                fs_group: user,
                fs_group_change_policy: user.map(|_| "OnRootMismatch".into()),
                run_as_group: user,
                run_as_non_root: Some(true),
                run_as_user: user,
                seccomp_profile: seccomp,
                ..PodSecurityContext::default()
            }),
            container: Some(SecurityContext {
                allow_privilege_escalation: Some(false),
                capabilities: Some(Capabilities {
                    add: None,
                    drop: Some(vec!["ALL".into()]),
                }),
                ..SecurityContext::default()
            }),
        },
        SecurityProfile::Baseline => Restrictions {
            pod: Some(PodSecurityContext {
                seccomp_profile: seccomp,
                ..PodSecurityContext::default()
            }),
            container: None,
        },
        SecurityProfile::Custom { pod, container } => Restrictions {
            pod: Some((**pod).clone()),
            container: Some((**container).clone()),
        },
    }
}

/// Sets them on every container, including the init container that installs sandbox-sshd.
pub(super) fn apply(spec: &mut PodSpec, restrictions: &Restrictions) {
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        container.security_context = restrictions.container.clone();
    }
}

/// Completes the contexts of containers that a patch added, except for the fields that they set.
pub(super) fn complete(spec: &mut PodSpec, profile: &SecurityProfile, restrictions: &Restrictions) {
    let (SecurityProfile::Restricted, Some(defaults)) = (profile, &restrictions.container) else {
        return;
    };
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        let own = container.security_context.get_or_insert_default();
        own.allow_privilege_escalation = own
            .allow_privilege_escalation
            .or(defaults.allow_privilege_escalation);
        let capabilities = own.capabilities.get_or_insert_default();
        if capabilities.drop.is_none() {
            capabilities.drop = defaults
                .capabilities
                .as_ref()
                .and_then(|defaults| defaults.drop.clone());
        }
    }
}
