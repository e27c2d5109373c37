//! What the Pod's processes may do.

use k8s_openapi::api::core::v1::{
    Capabilities, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};
use sandbox_core::{Error, Result};

use crate::manifest::options::{Injection, SecurityProfile};

/// What stands on the Pod and on each container.
pub(super) struct Restrictions {
    pub(super) pod: Option<PodSecurityContext>,
    container: Option<SecurityContext>,
}

/// What the profile says.
///
/// # Errors
///
/// [`Error::Config`] for an image's own server that cannot run under it.
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
                // So that volumes can be written; without any it does nothing.
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

/// Puts them on every container, ours that copies the server included.
pub(super) fn apply(spec: &mut PodSpec, restrictions: &Restrictions) {
    for container in spec
        .containers
        .iter_mut()
        .chain(spec.init_containers.iter_mut().flatten())
    {
        container.security_context = restrictions.container.clone();
    }
}

/// The same for containers that a patch added, as far as they say nothing else.
pub(super) fn complete(spec: &mut PodSpec, profile: &SecurityProfile, restrictions: &Restrictions) {
    let (SecurityProfile::Restricted, Some(ours)) = (profile, &restrictions.container) else {
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
            .or(ours.allow_privilege_escalation);
        let capabilities = own.capabilities.get_or_insert_default();
        if capabilities.drop.is_none() {
            capabilities.drop = ours
                .capabilities
                .as_ref()
                .and_then(|ours| ours.drop.clone());
        }
    }
}
