//! How sandboxes are made of Pods: for a whole client, and for one Pod.

mod parse;
mod pod_options;
mod volume;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use k8s_openapi::api::core::v1::{HostAlias, PodSecurityContext, SecurityContext, Toleration};
pub use pod_options::PodOptions;
pub use volume::{VolumeAt, VolumeSource};

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

/// When an image is fetched.
/// <https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// When the machine does not have it.
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// The word that Kubernetes has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// What the processes of a Pod may do, by the names of the Pod Security Standards.
/// The Pod is held to the standard, whatever a raw patch says.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SecurityProfile {
    /// Not root, no new privileges, no capabilities, the runtime's seccomp filter.
    #[default]
    Restricted,
    /// The image's user, root as well, with the runtime's capabilities and seccomp filter.
    Baseline,
    /// Exactly this, and nothing besides.
    Custom {
        /// Of the Pod.
        pod: Box<PodSecurityContext>,
        /// Of each of its containers.
        container: Box<SecurityContext>,
    },
}

/// How an SSH server gets into a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injection {
    /// The image holds `sandbox-sshd` already; the fastest way, for the Pod needs no volume.
    Baked {
        /// Where in the image.
        path: String,
    },
    /// `sandbox-sshd` is brought along from [`KubernetesOptions::server_image`]: any image.
    Inject(InjectVia),
    /// The image's own SSH server.
    Image(ImageServer),
}

impl Injection {
    /// Where one `COPY` line in a Dockerfile puts the server.
    pub const BAKED_PATH: &str = "/usr/local/bin/sandbox-sshd";

    /// In the image, at [`BAKED_PATH`](Self::BAKED_PATH).
    pub fn baked() -> Self {
        Self::Baked {
            path: Self::BAKED_PATH.into(),
        }
    }
}

impl Default for Injection {
    fn default() -> Self {
        Self::Inject(InjectVia::Auto)
    }
}

/// By which means the server is brought along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectVia {
    /// Whichever the cluster can. A manifest is built as with
    /// [`InitContainer`](Self::InitContainer), which every cluster can; a client that found
    /// out better says so.
    #[default]
    Auto,
    /// The server's image, mounted read-only.
    /// <https://kubernetes.io/docs/concepts/storage/volumes/#image>
    ImageVolume,
    /// A first container copies the server into an empty volume.
    InitContainer,
}

/// An SSH server that the image brings. It does not know of the SDK's lifetimes: only the
/// hard one holds, for Kubernetes itself keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageServer {
    /// The login name.
    pub user: String,
    /// The port it listens on.
    pub port: u16,
    /// How it learns whom to let in.
    pub authorized_key: AuthorizedKey,
}

impl Default for ImageServer {
    fn default() -> Self {
        Self {
            user: "root".into(),
            port: 22,
            authorized_key: AuthorizedKey::default(),
        }
    }
}

/// How an image's own server learns the sandbox's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizedKey {
    /// In an environment variable that the image reads, such as `PUBLIC_KEY` of
    /// `linuxserver/openssh-server`.
    Env(String),
    /// As a file, such as `/root/.ssh/authorized_keys`. It belongs to root and cannot be
    /// written, which OpenSSH's `StrictModes` accepts.
    File(String),
}

impl AuthorizedKey {
    /// The file where OpenSSH looks by default, if the user has the usual home directory.
    pub fn of_user(user: &str) -> Self {
        match user {
            "root" => Self::default(),
            other => Self::File(format!("/home/{other}/.ssh/authorized_keys")),
        }
    }
}

impl Default for AuthorizedKey {
    fn default() -> Self {
        Self::File("/root/.ssh/authorized_keys".into())
    }
}

/// How connections get to a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// Whichever of the two answers first.
    #[default]
    Auto,
    /// To the Pod's address.
    Direct,
    /// Through the API server.
    PortForward,
}

#[cfg(test)]
mod tests {
    use super::*;

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
