//! What people see of a sandbox.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{Resources, SandboxId, Uid, timestamp};

/// A sandbox as it can be shown, logged and stored: no secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// The name it is asked for by.
    pub id: SandboxId,
    /// This instance of it.
    pub uid: Uid,
    /// Which backend keeps it: `local`, `k8s`.
    pub backend: String,
    /// Where it is in its life.
    pub state: SandboxState,
    /// Where its SSH server listens: an IP address, or a socket's path.
    pub address: Option<String>,
    /// The TCP port of its SSH server; a Unix socket has none.
    pub port: Option<u16>,
    /// The login name.
    pub user: String,
    /// The home directory inside, once known.
    pub home: Option<String>,
    /// The image it was made from.
    pub image: Option<String>,
    /// The labels it was made with.
    pub labels: BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "timestamp")]
    pub created_at: SystemTime,
    /// When it ends, if nobody extends it.
    #[serde(with = "timestamp::option")]
    pub expires_at: Option<SystemTime>,
    /// What separates it from its surroundings.
    pub isolation: Isolation,
    /// The limits that really hold.
    pub limits: Vec<AppliedLimit>,
}

/// Where a sandbox is in its life. Ready is not among them: whether SSH answers is found out
/// by connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxState {
    /// Accepted; its server does not run yet.
    Pending,
    /// Its server runs.
    Running,
    /// It has ended, or is being removed.
    Ended,
}

/// What separates a sandbox from its surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The kind, in one word: `pod`, `namespaces`, `landlock`, `none`.
    pub kind: String,
    /// Each means that was applied: `user namespace`, `seccomp`, `gvisor`.
    pub applied: Vec<String>,
}

/// A limit that holds, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLimit {
    /// Of what: `memory`, `pids`, `cpu`, `disk`.
    pub resource: String,
    /// The amount, as it is written in a [`SandboxSpec`](crate::SandboxSpec).
    pub value: String,
    /// Over what it holds.
    pub scope: LimitScope,
    /// What enforces it: `cgroup v2`, `rlimit`, `tmpfs`.
    pub by: String,
}

/// Over what a limit holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// The whole sandbox.
    Sandbox,
    /// Each process by itself.
    Process,
}

/// What a backend can do. What it cannot is [`Error::Unsupported`](crate::Error::Unsupported).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Takes container images.
    pub images: bool,
    /// Sandboxes can reach other hosts.
    pub network: bool,
    /// The soft end is kept by the sandbox's own server, which has to be told when it is put
    /// off; otherwise the backend keeps it.
    pub server_keeps_ttl: bool,
    /// What serves is the SDK's own server: it has jobs, keeps the environment for whoever takes
    /// a sandbox up, and ends one that nobody uses. An image's own server does none of it.
    pub own_server: bool,
    /// Limits that can be asked for: those that are true here can be applied.
    pub limits: LimitSupport,
}

/// Which limits can be applied over a whole sandbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LimitSupport {
    /// Processor time.
    pub cpu: bool,
    /// Memory.
    pub memory: bool,
    /// Disk.
    pub disk: bool,
    /// Processes.
    pub pids: bool,
}

impl LimitSupport {
    /// The first limit of `asked` that cannot be applied.
    pub fn first_missing(&self, asked: &Resources) -> Option<&'static str> {
        [
            ("cpu", asked.cpu.is_some() && !self.cpu),
            ("memory", asked.memory.is_some() && !self.memory),
            ("disk", asked.disk.is_some() && !self.disk),
            ("pids", asked.pids.is_some() && !self.pids),
        ]
        .into_iter()
        .find_map(|(name, missing)| missing.then_some(name))
    }
}
