//! The table of all variables: the parser uses it, and `.env.example` is generated from it.

use std::time::Duration;

use crate::Settings;
use crate::value::Value;

/// The prefix of all our variables.
pub(crate) const PREFIX: &str = "SANDBOX_";

/// Prefixes that belong to the tests and to the server inside a sandbox.
pub(crate) const OTHERS: [&str; 2] = ["SANDBOX_TEST_", "SANDBOX_SSHD_"];

/// One variable.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
    /// The accepted values, with their unit: the end of "… is not valid: use".
    pub accepted: &'static str,
    /// The value that is equivalent to leaving it unset, if there is one.
    pub default: Option<&'static str>,
    /// Whether a `.env` file may set it. Variables that choose a program to run, how strictly to
    /// isolate, or whose credentials to use must come from the real environment, because a file may
    /// come with a cloned repository.
    pub from_file: bool,
    /// Puts a value into the settings; `None` when it is not accepted.
    pub(crate) set: Setter,
}

type Setter = fn(&mut Settings, Value<'_>) -> Option<()>;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// A renewal may take a while.
const LEASE: Duration = Duration::from_secs(15);

const CPU: &str = "a number of processors such as 2, 0.5 or 500m, above zero";
const BYTES: &str = "a number of bytes such as 512Mi, 2Gi, 1G or 65536, above zero";
const COUNT: &str = "a whole number, at least 1";
const POOL: &str = "a whole number from 1 to 1000";
const LIFETIME: &str = "a time of at least 1s, such as 90s, 30m, 2h or 1h30m";
const LIFETIME_OR_NONE: &str = "a time of at least 1s, such as 90s, 30m, 2h or 1h30m, or none";
const TIMEOUT: &str = "a time such as 500ms, 90s, 30m or 2h, above zero";
const TIMEOUT_OR_NONE: &str = "a time such as 500ms, 90s, 30m or 2h, above zero, or none";
const IMAGE: &str = "an image reference such as python:3.12-slim or registry.example.com/name:tag";
const ABSOLUTE_PATH: &str = "an absolute path";

macro_rules! variables {
    ($($name:literal, $from:ident, $default:expr, $accepted:expr, $doc:expr, $set:expr;)+) => {
        /// Every variable, in the order of `.env.example`.
        pub const VARIABLES: &[Variable] = &[$(Variable {
            name: concat!("SANDBOX_", $name),
            doc: $doc,
            accepted: $accepted,
            default: $default,
            from_file: variables!(@$from),
            set: $set,
        }),+];
    };
    (@file) => { true };
    (@environment) => { false };
}

variables! {
    "BACKEND", file, Some("local"), "local or k8s",
        "Where sandboxes run: on this machine, or as Pods of a Kubernetes cluster.",
        |s, v| put(&mut s.backend, v.parsed());
    "IMAGE", file, None, IMAGE,
        "The default container image. Local sandboxes have no images, and refuse one.",
        |s, v| put(&mut s.image, v.image().map(Some));

    "CPU", file, None, CPU,
        "The default CPU limit of a sandbox.",
        |s, v| put(&mut s.resources.cpu, v.parsed().map(Some));
    "MEMORY", file, None, BYTES,
        "The default memory limit of a sandbox. Without one, a local sandbox gets half of the machine's memory.",
        |s, v| put(&mut s.resources.memory, v.parsed().map(Some));
    "DISK", file, None, BYTES,
        "The default disk limit of a sandbox.",
        |s, v| put(&mut s.resources.disk, v.parsed().map(Some));
    "PIDS", file, None, COUNT,
        "The default limit on processes and threads of a local sandbox; without one it is 1024. Kubernetes has no such limit for a Pod, and refuses it.",
        |s, v| put(&mut s.resources.pids, v.count().map(Some));

    "TTL", file, Some("none"), LIFETIME_OR_NONE,
        "Ends a sandbox this long after its creation, unless it is extended.",
        |s, v| put(&mut s.lifetime.ttl, v.duration_or_none(SECOND));
    "MAX_LIFETIME", file, Some("24h"), LIFETIME,
        "Ends a sandbox this long after its creation; cannot be extended.",
        |s, v| put(&mut s.lifetime.max_lifetime, v.duration(SECOND));
    "IDLE_TIMEOUT", file, Some("none"), LIFETIME_OR_NONE,
        "Ends a sandbox after this long without use.",
        |s, v| put(&mut s.lifetime.idle_timeout, v.duration_or_none(SECOND));
    "ATTACH_TIMEOUT", file, Some("60s"), LIFETIME_OR_NONE,
        "Ends a sandbox after this long without a connected client; with none, it outlives the program that created it.",
        |s, v| put(&mut s.lifetime.attach_timeout, v.duration_or_none(SECOND));

    "CREATE_TIMEOUT", file, Some("5m"), TIMEOUT,
        "Timeout for creating a sandbox, until it can be used.",
        |s, v| put(&mut s.timeouts.create, v.duration(MILLISECOND));
    "CONNECT_TIMEOUT", file, Some("15s"), TIMEOUT,
        "Timeout for one connection to a sandbox.",
        |s, v| put(&mut s.timeouts.connect, v.duration(MILLISECOND));
    "COMMAND_TIMEOUT", file, Some("none"), TIMEOUT_OR_NONE,
        "The default timeout of a command.",
        |s, v| put(&mut s.timeouts.command, v.duration_or_none(MILLISECOND));
    "OUTPUT_CAP", file, Some("16Mi"), BYTES,
        "How much of each output stream of a command is kept in memory. Streamed output has no cap.",
        |s, v| put(&mut s.output_cap, v.parsed());

    "POOL_MAX_CONNECTIONS", file, Some("4"), POOL,
        "The maximum number of connections to one sandbox.",
        |s, v| put(&mut s.ssh.max_connections, v.count().filter(|count| *count <= 1000));
    "POOL_CHANNELS_PER_CONNECTION", file, Some("5"), POOL,
        "The maximum number of concurrent commands on one connection. OpenSSH's server allows 10, but refuses some above 5.",
        |s, v| put(&mut s.ssh.channels_per_connection, v.count().filter(|count| *count <= 1000));
    "POOL_IDLE_TIMEOUT", file, Some("60s"), TIMEOUT_OR_NONE,
        "Closes a connection after this long without use.",
        |s, v| put(&mut s.ssh.idle_timeout, v.duration_or_none(MILLISECOND));
    "SSH_USER", file, None, "a login name of letters, digits, dots, dashes and underscores",
        "The login name, for an image's own SSH server. Unset: root.",
        |s, v| put(&mut s.ssh.user, v.word("._-", 32).map(Some));
    "SSH_PORT", file, Some("22"), "a port from 1 to 65535",
        "The port, for an image's own SSH server.",
        |s, v| put(&mut s.ssh.port, v.count());
    "SSH_AUTHORIZED_KEYS_FILE", file, None, ABSOLUTE_PATH,
        "The file from which an image's own SSH server reads the authorized key. Unset: ~/.ssh/authorized_keys of the login name.",
        |s, v| put(&mut s.ssh.authorized_keys_file, v.container_path().map(Some));
    "SSH_AUTHORIZED_KEYS_VARIABLE", file, None, "the name of an environment variable, such as PUBLIC_KEY",
        "The environment variable from which the image reads the authorized key, instead of a file.",
        |s, v| put(&mut s.ssh.authorized_keys_variable, v.word("_", 128).map(Some));

    "NAMESPACE", file, None, "the name of a namespace",
        "The Kubernetes namespace. Unset: that of the context.",
        |s, v| put(&mut s.kubernetes.namespace, v.word("-", 63).map(Some));
    "SERVER_IMAGE", file, None, IMAGE,
        "The image with the SSH server that is added to Pods; `cargo xtask image` builds it.",
        |s, v| put(&mut s.kubernetes.server_image, v.image().map(Some));
    "INJECTION", file, Some("auto"), "auto, image-volume, init-container, baked or image",
        "How a Pod gets its SSH server: added to the image (auto finds out how the cluster can do that), already in the image (baked), or the image's own SSH server (image).",
        |s, v| put(&mut s.kubernetes.injection, v.parsed());
    "BAKED_PATH", file, Some("/usr/local/bin/sandbox-sshd"), ABSOLUTE_PATH,
        "The path of sandbox-sshd in the image, for SANDBOX_INJECTION=baked.",
        |s, v| put(&mut s.kubernetes.baked_path, v.container_path());
    "RUN_AS", file, Some("1000"), "a user id from 1 to 4294967294, or none",
        "The user and group id of a Pod's processes; with none, the platform or the image chooses. Applies to the security profile restricted.",
        |s, v| put(&mut s.kubernetes.run_as, v.user_or_none());
    "IMAGE_PULL_SECRET", file, None, "the name of a Secret",
        "The Secret in the namespace with the credentials for pulling images.",
        |s, v| put(&mut s.kubernetes.image_pull_secret, v.word(".-", 253).map(Some));
    "IMAGE_PULL_POLICY", file, None, "Always, IfNotPresent or Never",
        "When images are pulled. Unset: Kubernetes decides by the tag.",
        |s, v| put(&mut s.kubernetes.image_pull_policy, v.parsed().map(Some));
    "TRANSPORT", file, Some("auto"), "auto, direct or port-forward",
        "How to connect to a Pod: at its address (direct), through the API server (port-forward), or whichever works (auto).",
        |s, v| put(&mut s.kubernetes.transport, v.parsed());
    "STARTUP_GRACE", file, Some("30s"), "a time such as 500ms, 30s or 2m",
        "How long to wait, while a Pod starts, for a problem that may pass, and for a server that does not answer.",
        |s, v| put(&mut s.kubernetes.startup_grace, v.duration(Duration::ZERO));
    "OWNER_LEASE", file, Some("none"), "a time such as 1m or 1h, at least 15s, or none",
        "For long-lived processes: hold a Lease that owns the attached sandboxes, so that they are removed this long after the process was killed.",
        |s, v| put(&mut s.kubernetes.owner_lease, v.duration_or_none(LEASE));

    "SECURITY_PROFILE", environment, Some("restricted"), "restricted or baseline",
        "The Pod Security Standard that Pods meet; an image whose own SSH server needs root needs baseline.",
        |s, v| put(&mut s.kubernetes.security_profile, v.parsed());
    "STATE_DIR", environment, None, ABSOLUTE_PATH,
        "The directory of local sandboxes. Unset: $XDG_STATE_HOME/sandbox or ~/.local/state/sandbox.",
        |s, v| put(&mut s.local.state_dir, v.absolute_path().map(Some));
    "LOCAL_SERVER", environment, None, ABSOLUTE_PATH,
        "The program sandbox-local-server. Unset: it is searched for.",
        |s, v| put(&mut s.local.server, v.absolute_path().map(Some));
    "LOCAL_ISOLATION", environment, Some("auto"), "auto, namespaces, landlock or none",
        "How local sandboxes are isolated; auto uses namespaces, else landlock; with none, commands can do everything that you can.",
        |s, v| put(&mut s.local.isolation, v.parsed());
    "KUBECONFIG", environment, None, "the path of a file",
        "The kubeconfig file. Unset: it is found as by kubectl.",
        |s, v| put(&mut s.kubernetes.kubeconfig, Some(Some(v.path())));
    "KUBE_CONTEXT", environment, None, "the name of a context",
        "The context of the kubeconfig. Unset: its current context.",
        |s, v| put(&mut s.kubernetes.context, v.line().map(Some));
}

impl Variable {
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }
}

fn put<T>(place: &mut T, value: Option<T>) -> Option<()> {
    *place = value?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn the_defaults_of_the_table_are_those_of_the_settings() {
        for variable in VARIABLES {
            let mut settings = Settings::default();
            if let Some(default) = variable.default {
                (variable.set)(&mut settings, Value(OsStr::new(default))).unwrap();
            }
            assert_eq!(settings, Settings::default(), "{}", variable.name);
        }
    }

    #[test]
    fn each_variable_changes_something() {
        let candidates = [
            "k8s", "2", "7s", "1m", "none", "/abs", "Never", "direct", "7Mi", "baked", "baseline",
            "KEY",
        ];
        for variable in VARIABLES {
            let changes = |candidate: &&&str| {
                let mut settings = Settings::default();
                (variable.set)(&mut settings, Value(OsStr::new(candidate))).is_some()
                    && settings != Settings::default()
            };
            assert!(
                candidates.iter().find(changes).is_some(),
                "{}",
                variable.name
            );
        }
    }

    #[test]
    fn names_are_listed_once() {
        for (index, variable) in VARIABLES.iter().enumerate() {
            assert!(
                VARIABLES[..index]
                    .iter()
                    .all(|other| other.name != variable.name),
                "{}",
                variable.name
            );
            assert!(
                !OTHERS.iter().any(|other| variable.name.starts_with(other)),
                "{}",
                variable.name
            );
        }
    }
}
