//! The settings.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sandbox_core::{ByteSize, Error, Lifetime, Resources, Result};

/// All settings that can be made outside of a program. They contain no secret, so they can be
/// printed and logged.
///
/// A setting that only one backend has is text, such as [`KubernetesSettings::transport`]: the
/// backend owns the type behind it.
///
/// ```
/// use sandbox_config::{BackendKind, Settings};
///
/// let mut settings = Settings::default();
/// settings.backend = BackendKind::Kubernetes;
/// settings.kubernetes.transport = "port-forward".to_owned();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The backend to use.
    pub backend: BackendKind,
    /// The default image of sandboxes.
    pub image: Option<String>,
    /// How much of each output stream of a command is kept in memory.
    pub output_cap: ByteSize,
    /// The default limits of sandboxes.
    pub resources: Resources,
    /// The default lifetime of sandboxes.
    pub lifetime: Lifetime,
    /// What sandboxes may reach, as text: a preset, then `+RULE` and `-RULE`. `None` serves no way out.
    pub egress: Option<String>,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Connections to sandboxes.
    pub ssh: SshSettings,
    /// Sandboxes on this machine.
    pub local: LocalSettings,
    /// Sandboxes as Kubernetes Pods.
    pub kubernetes: KubernetesSettings,
    /// The gateway.
    pub gateway: GatewaySettings,
    /// Unknown environment variables that begin with `SANDBOX_`, in alphabetical order. They may be
    /// misspelt, or belong to another program.
    pub unknown: Vec<String>,
}

/// The backends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BackendKind {
    /// Confined process trees on this machine.
    #[default]
    Local,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

/// Timeouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For creating a sandbox, until it answers. Default: 5 minutes, because an image may have to
    /// be pulled.
    pub create: Duration,
    /// For one connection to a sandbox. Default: 15 seconds.
    pub connect: Duration,
    /// For a command that sets no timeout of its own; `None` means no timeout.
    pub command: Option<Duration>,
}

/// Connections to sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshSettings {
    /// The login name of an SSH server in the image. The SDK's server uses the user that it runs
    /// as.
    pub user: Option<String>,
    /// The port of an SSH server in the image. Default: 22.
    pub port: u16,
    /// The file from which an SSH server in the image reads the authorized key, an absolute path;
    /// `None` means `.ssh/authorized_keys` in the usual home directory of the login name.
    pub authorized_keys_file: Option<String>,
    /// The environment variable from which the image reads that key, instead of a file.
    pub authorized_keys_variable: Option<String>,
    /// The maximum number of connections to one sandbox. Default: 4. Bulk transfers use separate
    /// ones.
    pub max_connections: usize,
    /// The maximum number of concurrent commands on one connection. Default: 5, half of OpenSSH's
    /// limit.
    pub channels_per_connection: usize,
    /// The idle timeout of a connection. Default: 60 seconds; `None` means no timeout.
    pub idle_timeout: Option<Duration>,
}

/// Sandboxes on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalSettings {
    /// Their directory, an absolute path; `None` means `$XDG_STATE_HOME/sandbox` or
    /// `~/.local/state/sandbox`.
    pub state_dir: Option<PathBuf>,
    /// The program `sandbox-local-server`, an absolute path; `None` searches for it.
    pub server: Option<PathBuf>,
    /// How they are isolated: `auto`, `namespaces`, `landlock` or `none`. Default: `auto`.
    pub isolation: String,
    /// The login name inside them, whose home is `/home/` and this name. Default: `sandbox`.
    pub user: String,
}

/// Sandboxes as Kubernetes Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesSettings {
    /// The namespace; `None` means that of the context.
    pub namespace: Option<String>,
    /// The context of the kubeconfig; `None` means its current context.
    pub context: Option<String>,
    /// The kubeconfig file; `None` finds it as by kubectl.
    pub kubeconfig: Option<PathBuf>,
    /// The image with `sandbox-sshd`, which is added to Pods.
    pub server_image: Option<String>,
    /// The static program `sandbox-sshd` that is uploaded into Pods, or a directory with
    /// `sandbox-sshd-amd64` and `sandbox-sshd-arm64`; `None` searches for them.
    pub server_path: Option<PathBuf>,
    /// How a Pod gets its SSH server: `auto`, `image-volume`, `init-container`, `upload`,
    /// `upload-volume`, `baked` or `image`. Default: `auto`.
    pub injection: String,
    /// The path of `sandbox-sshd` in the image, for the injection `baked`.
    pub baked_path: String,
    /// The Pod Security Standard that Pods meet: `restricted` or `baseline`. Default: `restricted`.
    /// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
    pub security_profile: String,
    /// The user and group id of their processes under the profile `restricted`. Default: 1000;
    /// `None` leaves it to the platform or the image.
    pub run_as: Option<u32>,
    /// The Secret in the namespace with the credentials for pulling images.
    pub image_pull_secret: Option<String>,
    /// When images are pulled: `Always`, `IfNotPresent` or `Never`; `None` means Kubernetes' own
    /// rule, which depends on the tag.
    /// <https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy>
    pub image_pull_policy: Option<String>,
    /// How to connect to a Pod: `auto`, `direct` or `port-forward`. Default: `auto`.
    pub transport: String,
    /// How long to wait for a problem that may pass while a Pod starts. Default: 30 seconds.
    pub startup_grace: Duration,
    /// The duration of a Lease that owns this process' attached sandboxes and that the process
    /// renews: if the process is killed, they are removed when the Lease expires. `None`, the
    /// default, holds no Lease.
    pub owner_lease: Option<Duration>,
}

/// The gateway of the command (`sandbox serve`). `None` leaves a setting to the gateway's own file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewaySettings {
    /// The file with its templates and other settings.
    pub config: Option<PathBuf>,
    /// The address to listen on.
    pub listen: Option<SocketAddr>,
    /// The file with the names and hashes of keys.
    pub keys: Option<PathBuf>,
    /// The file with the key that tokens are signed with.
    pub signing_key: Option<PathBuf>,
    /// The domain below which ports of sandboxes are.
    pub domain: Option<String>,
    /// The certificate and those of its issuers, in PEM.
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, in PEM.
    pub tls_key: Option<PathBuf>,
    /// The address to serve Prometheus metrics on.
    pub metrics_listen: Option<SocketAddr>,
    /// The format of its log: `text` or `json`.
    pub log_format: Option<String>,
}

/// The settings that apply if nothing is set.
impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: BackendKind::default(),
            image: None,
            output_cap: ByteSize::from_mib(16),
            resources: Resources::default(),
            lifetime: Lifetime::default(),
            egress: None,
            timeouts: Timeouts::default(),
            ssh: SshSettings::default(),
            local: LocalSettings::default(),
            kubernetes: KubernetesSettings::default(),
            gateway: GatewaySettings::default(),
            unknown: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            create: Duration::from_secs(300),
            connect: Duration::from_secs(15),
            command: None,
        }
    }
}

impl Default for SshSettings {
    fn default() -> Self {
        Self {
            user: None,
            port: 22,
            authorized_keys_file: None,
            authorized_keys_variable: None,
            max_connections: 4,
            channels_per_connection: 5,
            idle_timeout: Some(Duration::from_secs(60)),
        }
    }
}

impl Default for LocalSettings {
    fn default() -> Self {
        Self {
            state_dir: None,
            server: None,
            isolation: "auto".into(),
            user: "sandbox".into(),
        }
    }
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            namespace: None,
            context: None,
            kubeconfig: None,
            server_image: None,
            server_path: None,
            injection: "auto".into(),
            baked_path: "/usr/local/bin/sandbox-sshd".into(),
            security_profile: "restricted".into(),
            run_as: Some(1000),
            image_pull_secret: None,
            image_pull_policy: None,
            transport: "auto".into(),
            startup_grace: Duration::from_secs(30),
            owner_lease: None,
        }
    }
}

impl BackendKind {
    /// Returns the value of `SANDBOX_BACKEND` that selects this backend.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Kubernetes => "k8s",
        }
    }
}

impl FromStr for BackendKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "local" => Ok(Self::Local),
            "k8s" => Ok(Self::Kubernetes),
            _ => Err(Error::invalid("backend", text, "use local or k8s")),
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
