//! What can be set.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandbox_core::{ByteSize, Lifetime, Resources, Result};

use crate::resolve::{Entry, resolve};
use crate::{dotenv, variables};

/// Everything that can be set from outside a program. No secret is among it, so it can be
/// printed and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Where sandboxes run.
    pub backend: BackendKind,
    /// The image of sandboxes that name none.
    pub image: Option<String>,
    /// How much of each output stream of a command is kept in memory.
    pub output_cap: ByteSize,
    /// The default limits of sandboxes.
    pub resources: Resources,
    /// The default lifetime of sandboxes.
    pub lifetime: Lifetime,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Connections to sandboxes.
    pub ssh: SshSettings,
    /// Sandboxes on this machine.
    pub local: LocalSettings,
    /// Sandboxes as Kubernetes Pods.
    pub kubernetes: KubernetesSettings,
    /// Unknown environment variables that begin with `SANDBOX_`, in alphabetical order. They may be
    /// misspelt, or belong to another program.
    pub unknown: Vec<String>,
}

/// Where sandboxes run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    /// For creating a sandbox, until it answers. Default: 5 minutes, because an image may have to be pulled.
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
    /// The login name, for an image's own SSH server. The SDK's server uses the user that it runs as.
    pub user: Option<String>,
    /// The port of an image's own SSH server. Default: 22.
    pub port: u16,
    /// The file from which an image's own SSH server reads the authorized key, an absolute path; `None`
    /// means `.ssh/authorized_keys` in the usual home directory of the login name.
    pub authorized_keys_file: Option<String>,
    /// The environment variable from which the image reads that key, instead of a file.
    pub authorized_keys_variable: Option<String>,
    /// The maximum number of connections to one sandbox. Default: 4. Bulk transfers use separate ones.
    pub max_connections: usize,
    /// The maximum number of concurrent commands on one connection. Default: 5, half of OpenSSH's limit.
    pub channels_per_connection: usize,
    /// Closes a connection after this long without use. Default: 60 seconds; `None` never closes it.
    pub idle_timeout: Option<Duration>,
}

/// Sandboxes on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalSettings {
    /// Their directory, an absolute path; `None` means `$XDG_STATE_HOME/sandbox` or
    /// `~/.local/state/sandbox`.
    pub state_dir: Option<PathBuf>,
    /// The program `sandbox-local-server`, an absolute path; `None` searches for it.
    pub server: Option<PathBuf>,
    /// How they are isolated.
    pub isolation: LocalIsolation,
}

/// How a local sandbox is isolated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalIsolation {
    /// Namespaces if the system permits them, else Landlock; never less.
    #[default]
    Auto,
    /// Namespaces, a separate root directory, no capabilities, a system call filter.
    Namespaces,
    /// Landlock and a system call filter, for systems that permit no namespaces.
    Landlock,
    /// **No isolation**: commands can do everything that this user can.
    None,
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
    /// How a Pod gets its SSH server.
    pub injection: InjectionKind,
    /// The path of `sandbox-sshd` in the image, for [`InjectionKind::Baked`].
    pub baked_path: String,
    /// The Pod Security Standard that Pods meet.
    pub security_profile: SecurityProfileKind,
    /// The user and group id of their processes under [`SecurityProfileKind::Restricted`]. Default: 1000;
    /// `None` leaves it to the platform or the image.
    pub run_as: Option<u32>,
    /// The Secret in the namespace with the credentials for pulling images.
    pub image_pull_secret: Option<String>,
    /// When images are pulled; `None` means Kubernetes' own rule, which depends on the tag.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// How to connect to a Pod.
    pub transport: TransportKind,
    /// How long to wait for a problem that may pass while a Pod starts. Default: 30 seconds.
    pub startup_grace: Duration,
    /// The duration of a Lease that owns this process' attached sandboxes and that the process renews: if
    /// the process is killed, they are removed when the Lease expires. `None`, the default, holds no Lease.
    pub owner_lease: Option<Duration>,
}

/// When an image is pulled.
/// <https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImagePullPolicy {
    /// At each start.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

/// How a Pod gets its SSH server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectionKind {
    /// `sandbox-sshd` is added to the image, as an image volume or with an init container.
    #[default]
    Auto,
    /// `sandbox-sshd` is mounted as an image volume.
    ImageVolume,
    /// `sandbox-sshd` is copied by an init container.
    InitContainer,
    /// The image contains `sandbox-sshd`.
    Baked,
    /// The image has an SSH server of its own.
    Image,
}

/// The Pod Security Standard that Pods meet.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityProfileKind {
    /// Never root, no new privileges, no capabilities.
    #[default]
    Restricted,
    /// The image's user, which may be root.
    Baseline,
}

/// How to connect to a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// Whichever works first.
    #[default]
    Auto,
    /// At the Pod's address.
    Direct,
    /// Through the API server.
    PortForward,
}

impl Settings {
    /// Reads the settings from the environment of this process.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every invalid value.
    pub fn from_env() -> Result<Self> {
        resolve(environment())
    }

    /// Reads the settings from this file and from the environment of this process, which overrides the
    /// file: a variable that is set there, even to nothing, is not taken from the file. The environment is
    /// not changed. Lines that set other programs' variables are skipped.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every invalid value, every line that cannot be
    /// parsed and every variable that a file may not set; also if the file cannot be read or is larger than
    /// 1 MiB.
    pub fn from_dotenv(path: impl AsRef<Path>) -> Result<Self> {
        let (path, content) = (path.as_ref(), dotenv::read(path.as_ref())?);
        resolve(dotenv::entries(&path.to_string_lossy(), &content).chain(environment()))
    }
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
            timeouts: Timeouts::default(),
            ssh: SshSettings::default(),
            local: LocalSettings::default(),
            kubernetes: KubernetesSettings::default(),
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

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            namespace: None,
            context: None,
            kubeconfig: None,
            server_image: None,
            injection: InjectionKind::default(),
            baked_path: "/usr/local/bin/sandbox-sshd".into(),
            security_profile: SecurityProfileKind::default(),
            run_as: Some(1000),
            image_pull_secret: None,
            image_pull_policy: None,
            transport: TransportKind::default(),
            startup_grace: Duration::from_secs(30),
            owner_lease: None,
        }
    }
}

macro_rules! words {
    ($name:ident, $what:literal, $($word:literal => $variant:ident),+) => {
        impl $name {
            /// The word for it in a setting.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
        impl std::str::FromStr for $name {
            type Err = sandbox_core::Error;
            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(sandbox_core::Error::invalid(
                        $what, text, concat!("use one of:" $(, " ", $word)+))),
                }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
words!(BackendKind, "backend", "local" => Local, "k8s" => Kubernetes);
words!(LocalIsolation, "isolation", "auto" => Auto, "namespaces" => Namespaces, "landlock" => Landlock, "none" => None);
words!(ImagePullPolicy, "image pull policy", "Always" => Always, "IfNotPresent" => IfNotPresent, "Never" => Never);
words!(InjectionKind, "injection", "auto" => Auto, "image-volume" => ImageVolume, "init-container" => InitContainer, "baked" => Baked, "image" => Image);
words!(SecurityProfileKind, "security profile", "restricted" => Restricted, "baseline" => Baseline);
words!(TransportKind, "transport", "auto" => Auto, "direct" => Direct, "port-forward" => PortForward);

/// The environment, as far as it may be ours.
fn environment() -> impl Iterator<Item = Entry> {
    std::env::vars_os()
        .filter(|(name, _)| {
            name.as_encoded_bytes()
                .starts_with(variables::PREFIX.as_bytes())
        })
        .map(|(name, value)| Entry::Environment {
            name: name.to_string_lossy().into_owned(),
            value,
        })
}
