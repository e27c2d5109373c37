//! The options of a client.

use std::time::Duration;

use super::injection::Injection;
use super::pod_options::PodOptions;
use super::policies::{PullPolicy, SecurityProfile, Transport};
use super::server_programs::ServerPrograms;

/// The options for all sandboxes of a client. Nothing is read from the environment here:
/// `sandbox-config` does that.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KubernetesOptions {
    /// The namespace; `None` is that of the kubeconfig's context, or of the Pod in which the client runs.
    pub namespace: Option<String>,
    /// The image that holds the SSH server, for [`Injection::Inject`].
    pub server_image: Option<String>,
    /// The SSH server itself, for [`InjectVia::Upload`](super::InjectVia::Upload).
    pub server_programs: ServerPrograms,
    /// Secrets in the namespace with which images are pulled.
    pub image_pull_secrets: Vec<String>,
    /// When images are pulled; `None` is the default of Kubernetes, which depends on the tag.
    pub image_pull_policy: Option<PullPolicy>,
    /// What the Pod's processes may do.
    pub security: SecurityProfile,
    /// The user and group that processes run as under [`SecurityProfile::Restricted`]. `None` if the platform
    /// assigns each namespace a range of its own (OpenShift), or if the image names a numeric user.
    pub run_as: Option<u32>,
    /// How the SSH server gets into the Pod.
    pub injection: Injection,
    /// How connections get to the Pod.
    pub transport: Transport,
    /// How long a problem that may pass is waited for while a Pod starts, and how long a server whose
    /// container runs but whose port does not answer.
    pub startup_grace: Duration,
    /// For long-running processes that create many attached sandboxes: the duration of a Lease that owns
    /// them all (at least 15 s; a minute or two is usual). It is renewed three times as often. When the
    /// process is killed, any client or sweep that finds the Lease expired deletes it, and Kubernetes deletes
    /// its sandboxes, including those that never ran. An outage of the API server ends nothing: an expired
    /// Lease has to stay unchanged for longer than its holder would need to renew it. The Lease is deleted
    /// with the last clone of the backend. Detached sandboxes have none, because they outlive their client.
    ///
    /// It needs the rights to create, patch, list and delete `leases` of `coordination.k8s.io`.
    /// `None`: the servers of attached sandboxes end by themselves when no client connects.
    pub owner_lease: Option<Duration>,
    /// Further options of Pods; see [`PodOptions`] for how those of one sandbox are merged over these. Its
    /// values for images and security take precedence over the fields above.
    pub pod: PodOptions,
}

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            namespace: None,
            server_image: None,
            server_programs: ServerPrograms::default(),
            image_pull_secrets: Vec::new(),
            image_pull_policy: None,
            security: SecurityProfile::default(),
            run_as: Some(1000),
            injection: Injection::default(),
            transport: Transport::default(),
            startup_grace: Duration::from_secs(30),
            owner_lease: None,
            pod: PodOptions::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::options::InjectVia;

    #[test]
    fn the_default_is_the_safe_one() {
        let options = KubernetesOptions::default();
        assert_eq!(options.security, SecurityProfile::Restricted);
        assert_eq!(
            (options.run_as, options.startup_grace),
            (Some(1000), Duration::from_secs(30))
        );
        assert_eq!(options.injection, Injection::Inject(InjectVia::Auto));
    }
}
