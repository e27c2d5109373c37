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
    /// Where sandboxes are made.
    pub backend: BackendKind,
    /// The image of sandboxes that name none.
    pub image: Option<String>,
    /// The most output of one command that is kept in memory, of each of its two streams.
    pub output_cap: ByteSize,
    /// Limits of sandboxes that ask for none.
    pub resources: Resources,
    /// When sandboxes end that say nothing about it.
    pub lifetime: Lifetime,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// How sandboxes are reached.
    pub ssh: SshSettings,
    /// Sandboxes on this machine.
    pub local: LocalSettings,
    /// Sandboxes as Kubernetes Pods.
    pub kubernetes: KubernetesSettings,
    /// Variables of the environment that begin with `SANDBOX_` and mean nothing to us, in
    /// alphabetical order: perhaps misspelt, perhaps another program's.
    pub unknown: Vec<String>,
}

/// Where sandboxes are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// Confined process trees on this machine.
    #[default]
    Local,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

/// How long to wait for things to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeouts {
    /// For a sandbox to be made and to answer: 5 minutes, for an image may have to be fetched.
    pub create: Duration,
    /// For one connection to a sandbox: 15 seconds.
    pub connect: Duration,
    /// For a command that sets no limit of its own; `None` lets it run.
    pub command: Option<Duration>,
}

/// How sandboxes are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshSettings {
    /// The login name, for an image's own SSH server. Ours takes the one it runs as.
    pub user: Option<String>,
    /// The port of an image's own SSH server: 22.
    pub port: u16,
    /// The file of the image where its own SSH server looks for the key to let in, an absolute
    /// path; `None` is `.ssh/authorized_keys` in the home directory that the login name usually
    /// has.
    pub authorized_keys_file: Option<String>,
    /// The environment variable that the image takes that key from, in place of a file.
    pub authorized_keys_variable: Option<String>,
    /// Connections to one sandbox, at most: 4. Bulk transfers have their own.
    pub max_connections: usize,
    /// Commands at once on one connection, at most: 5, half of what OpenSSH takes.
    pub channels_per_connection: usize,
    /// A connection unused for so long is closed, after 60 seconds; `None` keeps it.
    pub idle_timeout: Option<Duration>,
}

/// Sandboxes on this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalSettings {
    /// Where they are kept, an absolute path; `None` is `$XDG_STATE_HOME/sandbox` or
    /// `~/.local/state/sandbox`.
    pub state_dir: Option<PathBuf>,
    /// The program `sandbox-local-server`, an absolute path; `None` finds it by itself.
    pub server: Option<PathBuf>,
    /// What separates them from this machine.
    pub isolation: LocalIsolation,
}

/// What separates a local sandbox from this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LocalIsolation {
    /// Namespaces where this system permits them, else Landlock; never less.
    #[default]
    Auto,
    /// Namespaces, a root directory of its own, no capabilities, a system call filter.
    Namespaces,
    /// Landlock and a system call filter, for systems that permit no namespaces.
    Landlock,
    /// **Nothing**: commands can do all that this user can.
    None,
}

/// Sandboxes as Kubernetes Pods.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct KubernetesSettings {
    /// The namespace; `None` is that of the context.
    pub namespace: Option<String>,
    /// The context of the kubeconfig; `None` is its current one.
    pub context: Option<String>,
    /// The kubeconfig file; `None` finds it as kubectl does.
    pub kubeconfig: Option<PathBuf>,
    /// The image that `sandbox-sshd` is brought along in.
    pub server_image: Option<String>,
    /// How SSH gets into a Pod.
    pub injection: InjectionKind,
    /// Where an image has `sandbox-sshd`, for [`InjectionKind::Baked`].
    pub baked_path: String,
    /// What a Pod's processes may do.
    pub security_profile: SecurityProfileKind,
    /// The user and group that they run as under [`SecurityProfileKind::Restricted`]: 1000;
    /// `None` leaves it to the platform or the image.
    pub run_as: Option<u32>,
    /// The Secret in the namespace that images are fetched with.
    pub image_pull_secret: Option<String>,
    /// When images are fetched; `None` is Kubernetes' own rule, which goes by the tag.
    pub image_pull_policy: Option<ImagePullPolicy>,
    /// How connections get to a Pod.
    pub transport: TransportKind,
    /// How long an obstacle that may clear by itself is waited for: 30 seconds.
    pub startup_grace: Duration,
    /// For how long the Lease lasts that owns this process' attached sandboxes, unless it is renewed:
    /// when the process is killed, they go with it. `None`, the default, holds none.
    pub owner_lease: Option<Duration>,
}

/// When an image is fetched.
/// <https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ImagePullPolicy {
    /// At each start.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never: the node must have it.
    Never,
}

/// How SSH gets into a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectionKind {
    /// `sandbox-sshd` is brought along, by whichever way the cluster can.
    #[default]
    Auto,
    /// `sandbox-sshd` is brought along as a volume that is the server's image.
    ImageVolume,
    /// `sandbox-sshd` is brought along by a first container that copies it.
    InitContainer,
    /// The image has `sandbox-sshd`.
    Baked,
    /// The image has an SSH server of its own.
    Image,
}

/// What a Pod's processes may do, by the names of the Pod Security Standards.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecurityProfileKind {
    /// Never root, no new privileges, no capabilities.
    #[default]
    Restricted,
    /// The image's user, root as well.
    Baseline,
}

/// How connections get to a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// Whichever works first.
    #[default]
    Auto,
    /// To the Pod's address.
    Direct,
    /// Through the API server.
    PortForward,
}

impl Settings {
    /// The settings from the environment of this process.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every value that is wrong.
    pub fn from_env() -> Result<Self> {
        resolve(environment())
    }

    /// The settings from this file, with the environment of this process above it: a variable
    /// that is set there, even to nothing, is not taken from the file. The environment itself
    /// is not changed. Lines of the file that set other programs' variables are skipped.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every value that is wrong, every line
    /// that cannot be read and everything that a file may not set; also when the file cannot
    /// be read or is larger than 1 MiB.
    pub fn from_dotenv(path: impl AsRef<Path>) -> Result<Self> {
        let (path, content) = (path.as_ref(), dotenv::read(path.as_ref())?);
        resolve(dotenv::entries(&path.to_string_lossy(), &content).chain(environment()))
    }
}

/// What applies when nothing is set.
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
        Self { create: Duration::from_secs(300), connect: Duration::from_secs(15), command: None }
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
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(variables::PREFIX.as_bytes()))
        .map(|(name, value)| Entry::Environment { name: name.to_string_lossy().into_owned(), value })
}
