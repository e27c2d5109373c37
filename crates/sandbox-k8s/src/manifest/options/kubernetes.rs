//! Options of a whole client.

use std::time::Duration;

use super::injection::Injection;
use super::pod_options::PodOptions;
use super::policies::{PullPolicy, SecurityProfile, Transport};

/// What holds for all sandboxes of a client. Nothing is read from the environment here:
/// `sandbox-config` does that.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KubernetesOptions {
    /// The namespace; `None` is that of the kubeconfig's context, or of the Pod this runs in.
    pub namespace: Option<String>,
    /// The image that holds the SSH server, for [`Injection::Inject`].
    pub server_image: Option<String>,
    /// Secrets in the namespace that images are fetched with.
    pub image_pull_secrets: Vec<String>,
    /// When images are fetched; `None` is Kubernetes' own rule, which goes by the tag.
    pub image_pull_policy: Option<PullPolicy>,
    /// What the Pod's processes may do.
    pub security: SecurityProfile,
    /// The user and group that processes run as under [`SecurityProfile::Restricted`]. `None`
    /// where the platform gives each namespace a range of its own (OpenShift) or the image
    /// names a user by number.
    pub run_as: Option<u32>,
    /// How the SSH server gets into the Pod.
    pub injection: Injection,
    /// How connections get to the Pod.
    pub transport: Transport,
    /// How long an obstacle that may clear by itself is waited for while a Pod starts, and how
    /// long a server on whose port nothing answers once its container runs.
    pub startup_grace: Duration,
    /// For processes that run long and make many attached sandboxes: a Lease that owns them all,
    /// held for so long at a time (at least 15 s; a minute or two is usual) and renewed thrice as
    /// often. When the process is killed, whichever client or sweep finds the Lease expired
    /// removes it, and Kubernetes removes its sandboxes, also those that never ran. An API server
    /// that was away ends nothing: an expired Lease has to stay as it is for longer than its holder
    /// would need to renew it. It goes with the last clone of the backend. Detached sandboxes have none: they outlive their maker.
    ///
    /// It needs the rights to create, patch, list and delete `leases` of `coordination.k8s.io`.
    /// `None`: the servers of attached sandboxes end by themselves when no client comes.
    pub owner_lease: Option<Duration>,
    /// What Pods have besides; see [`PodOptions`] for how one sandbox's come over these. What it
    /// says of images and security goes over the fields above.
    pub pod: PodOptions,
}

impl Default for KubernetesOptions {
    fn default() -> Self {
        Self {
            namespace: None,
            server_image: None,
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
