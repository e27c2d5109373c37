//! The table of all variables, from which the parser and `.env.example` are derived.

use std::time::Duration;

use crate::settings::Settings;
use crate::value::Value;

/// The prefix of all variables.
pub(crate) const PREFIX: &str = "SANDBOX_";

/// Prefixes of the variables of the tests and of the server inside a sandbox.
pub(crate) const RESERVED_PREFIXES: [&str; 2] = ["SANDBOX_TEST_", "SANDBOX_SSHD_"];

/// Secrets that the command reads itself. No file has them, and no setting keeps them.
pub(crate) const SECRETS: [&str; 1] = ["SANDBOX_MCP_TOKEN"];

/// One variable.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub doc: &'static str,
    /// The accepted values, with their unit. Messages have it after "use".
    pub accepted: &'static str,
    /// The value that is equivalent to leaving it unset, if there is one.
    pub default: Option<&'static str>,
    /// Whether a `.env` file may set it. Variables that choose a program to run, how strictly to
    /// isolate, or whose credentials to use must come from the real environment, because a file may
    /// come with a cloned repository.
    pub from_file: bool,
    pub(crate) set: Setter,
}

/// Parses a value into the settings. Returns whether the value is valid.
type Setter = fn(&mut Settings, Value<'_>) -> bool;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
/// The shortest duration of a Lease, because a renewal takes time.
const MIN_LEASE: Duration = Duration::from_secs(15);

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
const EGRESS: &str =
    "none, packages, internet or open, then rules such as +api.example.com:443 or -10.0.0.0/8";
const ISOLATION: &str = "auto, namespaces, landlock or none";
const INJECTION: &str = "auto, image-volume, init-container, upload, upload-volume, baked or image";
const SECURITY_PROFILE: &str = "restricted or baseline";
const PULL_POLICY: &str = "Always, IfNotPresent or Never";
const SOCKET_ADDRESS: &str = "an address and a port such as 0.0.0.0:3000 or [::]:3000";
const LOG_FORMAT: &str = "text or json";
const TRANSPORT: &str = "auto, direct or port-forward";

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
        |s, v| set(&mut s.backend, v.parse());
    "IMAGE", file, None, IMAGE,
        "The default container image. Local sandboxes have no images, and refuse one.",
        |s, v| set(&mut s.image, v.image().map(Some));

    "CPU", file, None, CPU,
        "The default CPU limit of a sandbox.",
        |s, v| set(&mut s.resources.cpu, v.parse().map(Some));
    "MEMORY", file, None, BYTES,
        "The default memory limit of a sandbox. Without one, a local sandbox gets half of the machine's memory.",
        |s, v| set(&mut s.resources.memory, v.parse().map(Some));
    "DISK", file, None, BYTES,
        "The default disk limit of a sandbox.",
        |s, v| set(&mut s.resources.disk, v.parse().map(Some));
    "PIDS", file, None, COUNT,
        "The default limit on processes and threads of a local sandbox; without one it is 1024. Kubernetes has no such limit for a Pod, and refuses it.",
        |s, v| set(&mut s.resources.pids, v.count().map(Some));

    "TTL", file, Some("none"), LIFETIME_OR_NONE,
        "Ends a sandbox this long after its creation, unless it is extended.",
        |s, v| set(&mut s.lifetime.ttl, v.duration_or_none(SECOND));
    "MAX_LIFETIME", file, Some("24h"), LIFETIME,
        "Ends a sandbox this long after its creation; cannot be extended.",
        |s, v| set(&mut s.lifetime.max_lifetime, v.duration(SECOND));
    "IDLE_TIMEOUT", file, Some("none"), LIFETIME_OR_NONE,
        "Ends a sandbox after this long without use.",
        |s, v| set(&mut s.lifetime.idle_timeout, v.duration_or_none(SECOND));
    "ATTACH_TIMEOUT", file, Some("60s"), LIFETIME_OR_NONE,
        "Ends a sandbox after this long without a connected client; with none, it outlives the program that created it.",
        |s, v| set(&mut s.lifetime.attach_timeout, v.duration_or_none(SECOND));

    "EGRESS", environment, None, EGRESS,
        "What a sandbox may reach, through a proxy in the program that created it: a preset, then +RULE to allow and -RULE to deny. Sandboxes of `sandbox serve` and `sandbox mcp` reach nothing without it.",
        |s, v| set(&mut s.egress, v.line().map(Some));

    "CREATE_TIMEOUT", file, Some("5m"), TIMEOUT,
        "Timeout for creating a sandbox, until it can be used.",
        |s, v| set(&mut s.timeouts.create, v.duration(MILLISECOND));
    "CONNECT_TIMEOUT", file, Some("15s"), TIMEOUT,
        "Timeout for one connection to a sandbox.",
        |s, v| set(&mut s.timeouts.connect, v.duration(MILLISECOND));
    "COMMAND_TIMEOUT", file, Some("none"), TIMEOUT_OR_NONE,
        "The default timeout of a command.",
        |s, v| set(&mut s.timeouts.command, v.duration_or_none(MILLISECOND));
    "OUTPUT_CAP", file, Some("16Mi"), BYTES,
        "How much of each output stream of a command is kept in memory, half of it the beginning and half the end. Streamed output has no cap.",
        |s, v| set(&mut s.output_cap, v.parse());

    "POOL_MAX_CONNECTIONS", file, Some("4"), POOL,
        "The maximum number of connections to one sandbox.",
        |s, v| set(&mut s.ssh.max_connections, v.count().filter(|count| *count <= 1000));
    "POOL_CHANNELS_PER_CONNECTION", file, Some("5"), POOL,
        "The maximum number of concurrent commands on one connection. OpenSSH's server allows 10, but refuses some above 5.",
        |s, v| set(&mut s.ssh.channels_per_connection, v.count().filter(|count| *count <= 1000));
    "POOL_IDLE_TIMEOUT", file, Some("60s"), TIMEOUT_OR_NONE,
        "Closes a connection after this long without use.",
        |s, v| set(&mut s.ssh.idle_timeout, v.duration_or_none(MILLISECOND));
    "SSH_USER", file, None, "a login name of letters, digits, dots, dashes and underscores",
        "The login name of an SSH server in the image (SANDBOX_INJECTION=image). Unset: root.",
        |s, v| set(&mut s.ssh.user, v.name("._-", 32).map(Some));
    "SSH_PORT", file, Some("22"), "a port from 1 to 65535",
        "The port of an SSH server in the image.",
        |s, v| set(&mut s.ssh.port, v.count());
    "SSH_AUTHORIZED_KEYS_FILE", file, None, ABSOLUTE_PATH,
        "The file from which an SSH server in the image reads the authorized key. Unset: ~/.ssh/authorized_keys of the login name.",
        |s, v| set(&mut s.ssh.authorized_keys_file, v.container_path().map(Some));
    "SSH_AUTHORIZED_KEYS_VARIABLE", file, None, "the name of an environment variable, such as PUBLIC_KEY",
        "The environment variable from which the image reads the authorized key, instead of a file.",
        |s, v| set(&mut s.ssh.authorized_keys_variable, v.name("_", 128).map(Some));

    "NAMESPACE", file, None, "the name of a namespace",
        "The Kubernetes namespace. Unset: that of the context.",
        |s, v| set(&mut s.kubernetes.namespace, v.name("-", 63).map(Some));
    "SERVER_IMAGE", file, None, IMAGE,
        "The image with the SSH server that is injected into Pods; `cargo xtask image` builds it.",
        |s, v| set(&mut s.kubernetes.server_image, v.image().map(Some));
    "INJECTION", file, Some("auto"), INJECTION,
        "How a Pod gets its SSH server: injected as an image volume, by an init container or by an upload (auto chooses), baked into the image, or the SSH server of the image (image).",
        |s, v| set(&mut s.kubernetes.injection, v.one_of(INJECTION));
    "BAKED_PATH", file, Some("/usr/local/bin/sandbox-sshd"), ABSOLUTE_PATH,
        "The path of sandbox-sshd in the image, for SANDBOX_INJECTION=baked.",
        |s, v| set(&mut s.kubernetes.baked_path, v.container_path());
    "RUN_AS", file, Some("1000"), "a user id from 1 to 4294967294, or none",
        "The user and group id of a Pod's processes; with none, the platform or the image chooses. Applies to the security profile restricted.",
        |s, v| set(&mut s.kubernetes.run_as, v.user_or_none());
    "IMAGE_PULL_SECRET", file, None, "the name of a Secret",
        "The Secret in the namespace with the credentials for pulling images.",
        |s, v| set(&mut s.kubernetes.image_pull_secret, v.name(".-", 253).map(Some));
    "IMAGE_PULL_POLICY", file, None, PULL_POLICY,
        "When images are pulled. Unset: Kubernetes decides by the tag.",
        |s, v| set(&mut s.kubernetes.image_pull_policy, v.one_of(PULL_POLICY).map(Some));
    "TRANSPORT", file, Some("auto"), TRANSPORT,
        "How to connect to a Pod: at its address (direct), through the API server (port-forward), or whichever works (auto).",
        |s, v| set(&mut s.kubernetes.transport, v.one_of(TRANSPORT));
    "STARTUP_GRACE", file, Some("30s"), "a time such as 500ms, 30s or 2m",
        "How long to wait, while a Pod starts, for a problem that may pass, and for a server that does not respond.",
        |s, v| set(&mut s.kubernetes.startup_grace, v.duration(Duration::ZERO));
    "OWNER_LEASE", file, Some("none"), "a time such as 1m or 1h, at least 15s, or none",
        "For long-lived processes: hold a Lease that owns the attached sandboxes, so that they are deleted this long after the process was killed.",
        |s, v| set(&mut s.kubernetes.owner_lease, v.duration_or_none(MIN_LEASE));

    "SERVER_PATH", environment, None, ABSOLUTE_PATH,
        "The static program sandbox-sshd that is uploaded into Pods, or a directory with sandbox-sshd-amd64 and sandbox-sshd-arm64. Unset: the one in the command, or the one that `cargo xtask image` built.",
        |s, v| set(&mut s.kubernetes.server_path, v.absolute_path().map(Some));
    "SECURITY_PROFILE", environment, Some("restricted"), SECURITY_PROFILE,
        "The Pod Security Standard that Pods meet; an image whose SSH server needs root needs baseline.",
        |s, v| set(&mut s.kubernetes.security_profile, v.one_of(SECURITY_PROFILE));
    "STATE_DIR", environment, None, ABSOLUTE_PATH,
        "The directory of local sandboxes. Unset: $XDG_STATE_HOME/sandbox or ~/.local/state/sandbox.",
        |s, v| set(&mut s.local.state_dir, v.absolute_path().map(Some));
    "LOCAL_SERVER", environment, None, ABSOLUTE_PATH,
        "The program sandbox-local-server. Unset: it is searched for.",
        |s, v| set(&mut s.local.server, v.absolute_path().map(Some));
    "LOCAL_ISOLATION", environment, Some("auto"), ISOLATION,
        "How local sandboxes are isolated; auto uses namespaces, else landlock; with none, commands can do everything that you can.",
        |s, v| set(&mut s.local.isolation, v.one_of(ISOLATION));
    "LOCAL_USER", file, Some("sandbox"), "a login name",
        "The login name inside local sandboxes; their home is /home/ and this name.",
        |s, v| set(&mut s.local.user, v.line());
    "KUBECONFIG", environment, None, "the path of a file",
        "The kubeconfig file. Unset: the one that kubectl uses.",
        |s, v| set(&mut s.kubernetes.kubeconfig, Some(Some(v.path())));
    "KUBE_CONTEXT", environment, None, "the name of a context",
        "The context of the kubeconfig. Unset: its current context.",
        |s, v| set(&mut s.kubernetes.context, v.line().map(Some));

    "GATEWAY_CONFIG", environment, None, ABSOLUTE_PATH,
        "The file with the templates and other settings of `sandbox serve`.",
        |s, v| set(&mut s.gateway.config, v.absolute_path().map(Some));
    "GATEWAY_LISTEN", environment, None, SOCKET_ADDRESS,
        "The address that `sandbox serve` listens on. Unset: 127.0.0.1:3000.",
        |s, v| set(&mut s.gateway.listen, v.parse().map(Some));
    "GATEWAY_KEYS", environment, None, ABSOLUTE_PATH,
        "The file with the names and hashes of the keys that `sandbox serve` accepts.",
        |s, v| set(&mut s.gateway.keys, v.absolute_path().map(Some));
    "GATEWAY_SIGNING_KEY", environment, None, ABSOLUTE_PATH,
        "The file with 32 random bytes or more that `sandbox serve` signs tokens with; replicas need the same. Unset: signing.key beside the file of keys.",
        |s, v| set(&mut s.gateway.signing_key, v.absolute_path().map(Some));
    "GATEWAY_DOMAIN", environment, None, "a domain such as sandboxes.example.com",
        "The domain below which `sandbox serve` has the ports of sandboxes.",
        |s, v| set(&mut s.gateway.domain, v.name("-.:", 200).map(Some));
    "GATEWAY_TLS_CERT", environment, None, ABSOLUTE_PATH,
        "The certificate of `sandbox serve` and those of its issuers, in PEM. Unset: it speaks plain HTTP.",
        |s, v| set(&mut s.gateway.tls_cert, v.absolute_path().map(Some));
    "GATEWAY_TLS_KEY", environment, None, ABSOLUTE_PATH,
        "The private key of that certificate, in PEM.",
        |s, v| set(&mut s.gateway.tls_key, v.absolute_path().map(Some));
    "GATEWAY_METRICS_LISTEN", environment, None, SOCKET_ADDRESS,
        "The address at which `sandbox serve` has metrics for Prometheus, without a key. Unset: it has none.",
        |s, v| set(&mut s.gateway.metrics_listen, v.parse().map(Some));
    "GATEWAY_LOG_FORMAT", environment, None, LOG_FORMAT,
        "The format of the log of `sandbox serve`. Unset: text.",
        |s, v| set(&mut s.gateway.log_format, v.one_of(LOG_FORMAT).map(Some));
}

impl Variable {
    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        VARIABLES.iter().find(|variable| variable.name == name)
    }
}

/// Sets a field to a valid value. Returns whether there is one.
fn set<T>(field: &mut T, value: Option<T>) -> bool {
    match value {
        Some(value) => {
            *field = value;
            true
        }
        None => false,
    }
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
                assert!((variable.set)(&mut settings, Value(OsStr::new(default))));
            }
            assert_eq!(settings, Settings::default(), "{}", variable.name);
        }
    }

    #[test]
    fn each_variable_changes_something() {
        let candidates = [
            "k8s",
            "2",
            "7s",
            "1m",
            "none",
            "/abs",
            "Never",
            "direct",
            "7Mi",
            "baked",
            "baseline",
            "KEY",
            "127.0.0.1:3000",
            "json",
        ];
        for variable in VARIABLES {
            let changes = |candidate: &&&str| {
                let mut settings = Settings::default();
                (variable.set)(&mut settings, Value(OsStr::new(candidate)))
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
                !RESERVED_PREFIXES
                    .iter()
                    .any(|prefix| variable.name.starts_with(prefix)),
                "{}",
                variable.name
            );
        }
    }
}
