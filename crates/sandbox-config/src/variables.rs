//! The one table of all variables. The parser goes by it, and so does `.env.example`.

use std::time::Duration;

use crate::Settings;
use crate::value::Value;

/// What all names of ours begin with.
pub(crate) const PREFIX: &str = "SANDBOX_";

/// Names that begin like ours and belong to the tests and to the server inside a sandbox.
pub(crate) const OTHERS: [&str; 2] = ["SANDBOX_TEST_", "SANDBOX_SSHD_"];

/// One variable.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
    /// What it takes, with the unit: the end of "… is not valid: use".
    pub accepted: &'static str,
    /// The value that means the same as leaving it out, where there is one.
    pub default: Option<&'static str>,
    /// Whether a `.env` file may set it. What chooses a program to run, how strictly to isolate
    /// or whose credentials to use is for the real environment alone, for a file may come with
    /// a cloned repository.
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
        "Where sandboxes are made: on this machine, or as Pods of a Kubernetes cluster.",
        |s, v| put(&mut s.backend, v.parsed());
    "IMAGE", file, None, IMAGE,
        "The image of sandboxes that name none. Local sandboxes take no image.",
        |s, v| put(&mut s.image, v.image().map(Some));

    "CPU", file, None, CPU,
        "Processor time of a sandbox that asks for none.",
        |s, v| put(&mut s.resources.cpu, v.parsed().map(Some));
    "MEMORY", file, None, BYTES,
        "Memory of a sandbox that asks for none.",
        |s, v| put(&mut s.resources.memory, v.parsed().map(Some));
    "DISK", file, None, BYTES,
        "Disk of a sandbox that asks for none.",
        |s, v| put(&mut s.resources.disk, v.parsed().map(Some));
    "PIDS", file, None, COUNT,
        "Processes and threads of a sandbox that asks for none.",
        |s, v| put(&mut s.resources.pids, v.count().map(Some));

    "TTL", file, Some("none"), LIFETIME_OR_NONE,
        "How long a sandbox lives unless it is extended.",
        |s, v| put(&mut s.lifetime.ttl, v.duration_or_none(SECOND));
    "MAX_LIFETIME", file, Some("24h"), LIFETIME,
        "How long a sandbox can live at all.",
        |s, v| put(&mut s.lifetime.max_lifetime, v.duration(SECOND));
    "IDLE_TIMEOUT", file, Some("none"), LIFETIME_OR_NONE,
        "A sandbox of which nothing was asked for so long ends.",
        |s, v| put(&mut s.lifetime.idle_timeout, v.duration_or_none(SECOND));
    "ATTACH_TIMEOUT", file, Some("60s"), LIFETIME_OR_NONE,
        "A sandbox without a client for so long ends; with none, it outlives its maker.",
        |s, v| put(&mut s.lifetime.attach_timeout, v.duration_or_none(SECOND));

    "CREATE_TIMEOUT", file, Some("5m"), TIMEOUT,
        "How long a sandbox may take until it can be used.",
        |s, v| put(&mut s.timeouts.create, v.duration(MILLISECOND));
    "CONNECT_TIMEOUT", file, Some("15s"), TIMEOUT,
        "How long one connection to a sandbox may take.",
        |s, v| put(&mut s.timeouts.connect, v.duration(MILLISECOND));
    "COMMAND_TIMEOUT", file, Some("none"), TIMEOUT_OR_NONE,
        "How long a command may run that sets no limit of its own.",
        |s, v| put(&mut s.timeouts.command, v.duration_or_none(MILLISECOND));
    "OUTPUT_CAP", file, Some("16Mi"), BYTES,
        "The most that is kept in memory of each output of a command. Streams have no cap.",
        |s, v| put(&mut s.output_cap, v.parsed());

    "POOL_MAX_CONNECTIONS", file, Some("4"), POOL,
        "Connections to one sandbox, at most.",
        |s, v| put(&mut s.ssh.max_connections, v.count().filter(|count| *count <= 1000));
    "POOL_CHANNELS_PER_CONNECTION", file, Some("5"), POOL,
        "Commands at once on one connection, at most. OpenSSH's server takes 10 and refuses some above 5.",
        |s, v| put(&mut s.ssh.channels_per_connection, v.count().filter(|count| *count <= 1000));
    "POOL_IDLE_TIMEOUT", file, Some("60s"), TIMEOUT_OR_NONE,
        "A connection that is unused for so long is closed.",
        |s, v| put(&mut s.ssh.idle_timeout, v.duration_or_none(MILLISECOND));
    "SSH_USER", file, None, "a login name of letters, digits, dots, dashes and underscores",
        "The login name, for an image's own SSH server; else root.",
        |s, v| put(&mut s.ssh.user, v.word("._-", 32).map(Some));
    "SSH_PORT", file, Some("22"), "a port from 1 to 65535",
        "The port, for an image's own SSH server.",
        |s, v| put(&mut s.ssh.port, v.count());
    "SSH_AUTHORIZED_KEYS_FILE", file, None, ABSOLUTE_PATH,
        "The file of the image where its own SSH server looks for the key to let in; else ~/.ssh/authorized_keys of the login name.",
        |s, v| put(&mut s.ssh.authorized_keys_file, v.container_path().map(Some));
    "SSH_AUTHORIZED_KEYS_VARIABLE", file, None, "the name of an environment variable, such as PUBLIC_KEY",
        "The environment variable that the image takes that key from, in place of a file.",
        |s, v| put(&mut s.ssh.authorized_keys_variable, v.word("_", 128).map(Some));

    "NAMESPACE", file, None, "the name of a namespace",
        "The Kubernetes namespace; else that of the context.",
        |s, v| put(&mut s.kubernetes.namespace, v.word("-", 63).map(Some));
    "SERVER_IMAGE", file, None, IMAGE,
        "The image that brings the SSH server into Pods.",
        |s, v| put(&mut s.kubernetes.server_image, v.image().map(Some));
    "INJECTION", file, Some("auto"), "auto, image-volume, init-container, baked or image",
        "How SSH gets into a Pod: brought along (auto finds out which way the cluster can), in the image already, or the image's own SSH server.",
        |s, v| put(&mut s.kubernetes.injection, v.parsed());
    "BAKED_PATH", file, Some("/usr/local/bin/sandbox-sshd"), ABSOLUTE_PATH,
        "Where an image has sandbox-sshd, for SANDBOX_INJECTION=baked.",
        |s, v| put(&mut s.kubernetes.baked_path, v.container_path());
    "RUN_AS", file, Some("1000"), "a user id from 1 to 4294967294, or none",
        "The user and group that a Pod's processes run as; with none, the platform or the image chooses. It counts under the security profile restricted.",
        |s, v| put(&mut s.kubernetes.run_as, v.user_or_none());
    "IMAGE_PULL_SECRET", file, None, "the name of a Secret",
        "The Secret in the namespace that images are fetched with.",
        |s, v| put(&mut s.kubernetes.image_pull_secret, v.word(".-", 253).map(Some));
    "IMAGE_PULL_POLICY", file, None, "Always, IfNotPresent or Never",
        "When images are fetched; else Kubernetes goes by the tag.",
        |s, v| put(&mut s.kubernetes.image_pull_policy, v.parsed().map(Some));
    "TRANSPORT", file, Some("auto"), "auto, direct or port-forward",
        "How connections get to a Pod: to its address, or through the API server.",
        |s, v| put(&mut s.kubernetes.transport, v.parsed());
    "STARTUP_GRACE", file, Some("30s"), "a time such as 500ms, 30s or 2m",
        "How long an obstacle that may clear by itself is waited for while a Pod starts, and a server that does not answer.",
        |s, v| put(&mut s.kubernetes.startup_grace, v.duration(Duration::ZERO));
    "OWNER_LEASE", file, Some("none"), "a time such as 1m or 1h, at least 15s, or none",
        "For long-lived processes: how long after one was killed its attached sandboxes go, with a Lease that owns them.",
        |s, v| put(&mut s.kubernetes.owner_lease, v.duration_or_none(LEASE));

    "SECURITY_PROFILE", environment, Some("restricted"), "restricted or baseline",
        "What a Pod's processes may do, by the Pod Security Standards; an image whose own SSH server needs root needs baseline.",
        |s, v| put(&mut s.kubernetes.security_profile, v.parsed());
    "STATE_DIR", environment, None, ABSOLUTE_PATH,
        "Where local sandboxes are kept; else $XDG_STATE_HOME/sandbox or ~/.local/state/sandbox.",
        |s, v| put(&mut s.local.state_dir, v.absolute_path().map(Some));
    "LOCAL_SERVER", environment, None, ABSOLUTE_PATH,
        "The program sandbox-local-server; else it is found by itself.",
        |s, v| put(&mut s.local.server, v.absolute_path().map(Some));
    "LOCAL_ISOLATION", environment, Some("auto"), "auto, namespaces, landlock or none",
        "What separates local sandboxes from this machine; auto is namespaces, else landlock; with none, commands can do all that you can.",
        |s, v| put(&mut s.local.isolation, v.parsed());
    "KUBECONFIG", environment, None, "the path of a file",
        "The kubeconfig; else it is found as kubectl finds it.",
        |s, v| put(&mut s.kubernetes.kubeconfig, Some(Some(v.path())));
    "KUBE_CONTEXT", environment, None, "the name of a context",
        "The context of the kubeconfig; else its current one.",
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
        let candidates =
            ["k8s", "2", "7s", "1m", "none", "/abs", "Never", "direct", "7Mi", "baked", "baseline", "KEY"];
        for variable in VARIABLES {
            let changes = |candidate: &&&str| {
                let mut settings = Settings::default();
                (variable.set)(&mut settings, Value(OsStr::new(candidate))).is_some()
                    && settings != Settings::default()
            };
            assert!(candidates.iter().find(changes).is_some(), "{}", variable.name);
        }
    }

    #[test]
    fn names_are_listed_once() {
        for (index, variable) in VARIABLES.iter().enumerate() {
            assert!(VARIABLES[..index].iter().all(|other| other.name != variable.name), "{}", variable.name);
            assert!(!OTHERS.iter().any(|other| variable.name.starts_with(other)), "{}", variable.name);
        }
    }
}
