//! The public description of a sandbox.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{PoolMember, SandboxEnd};
use crate::guest::OnExpiry;
use crate::{Resources, SandboxId, Uid, timestamp};

/// The description of a sandbox. It contains no secrets, so it can be shown, logged and stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// Its id.
    pub id: SandboxId,
    /// The uid of this instance.
    pub uid: Uid,
    /// The name of its backend, such as `local` or `k8s`.
    pub backend: String,
    /// Its state.
    pub state: SandboxState,
    /// The address of its SSH server: an IP address, or the path of a socket.
    pub address: Option<String>,
    /// The TCP port of its SSH server; a Unix socket has none.
    pub port: Option<u16>,
    /// The login name.
    pub user: String,
    /// The home directory inside, if known.
    pub home: Option<String>,
    /// The image from which it was created.
    pub image: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// When it was created.
    #[serde(with = "timestamp")]
    pub created_at: SystemTime,
    /// When it ends, unless it is extended. Of a paused sandbox, whose `ttl` stands still, as of the time of its pause.
    #[serde(with = "timestamp::option")]
    pub expires_at: Option<SystemTime>,
    /// What happens then.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_expiry: OnExpiry,
    /// Whether a client has paused it. A sandbox that was paused at the end of its `ttl` has no such mark:
    /// [`is_paused`](Self::is_paused) knows both.
    #[serde(default, rename = "paused", skip_serializing_if = "is_default")]
    pub is_marked_paused: bool,
    /// How it is isolated.
    pub isolation: Isolation,
    /// The limits that are actually enforced.
    pub limits: Vec<AppliedLimit>,
    /// Why it has ended, if it has ended and the backend knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<SandboxEnd>,
    /// The shared pool that it was created for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolMember>,
}

impl SandboxInfo {
    /// Whether the sandbox is paused at this time, as far as its backend knows: a client has paused it, or its `ttl` has
    /// passed and its server pauses it then. The server itself knows for certain.
    pub fn is_paused(&self, now: SystemTime) -> bool {
        let is_expired = self.expires_at.is_some_and(|end| end <= now);
        let pauses = match self.on_expiry {
            OnExpiry::Pause => is_expired,
            OnExpiry::End => false,
        };
        match self.state {
            // A client has reached it to pause it, whatever its backend has reported by now.
            SandboxState::Pending => self.is_marked_paused,
            SandboxState::Running => self.is_marked_paused || pauses,
            SandboxState::Ended => false,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The state of a sandbox. There is no `Ready`: whether SSH works is known only after connecting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SandboxState {
    /// It was accepted; its server is not running yet.
    Pending,
    /// Its server is running.
    Running,
    /// It has ended, or is being removed.
    Ended,
}

/// How a sandbox is isolated from its environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// The kind of isolation: `pod`, `namespaces`, `landlock` or `none`.
    pub kind: String,
    /// The mechanisms that were applied, such as `user namespace`, `seccomp` or `gvisor`.
    pub applied: Vec<String>,
}

/// A limit that is enforced, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedLimit {
    /// The resource: `memory`, `pids`, `cpu` or `disk`.
    pub resource: String,
    /// The amount, in the notation of a [`SandboxSpec`](crate::SandboxSpec).
    pub value: String,
    /// Whether it applies to the sandbox or to each process.
    pub scope: LimitScope,
    /// The mechanism that enforces it, such as `cgroup v2`, `rlimit` or `tmpfs`.
    #[serde(rename = "by")]
    pub enforced_by: String,
}

/// The scope of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitScope {
    /// The whole sandbox.
    Sandbox,
    /// Each process separately.
    Process,
}

/// The capabilities of a backend. Requests for anything else return
/// [`Error::Unsupported`](crate::Error::Unsupported).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Whether sandboxes are created from container images.
    pub images: bool,
    /// Whether sandboxes can reach other hosts.
    pub network: bool,
    /// Whether a sandbox that could reach other hosts can be kept from them ([`SandboxSpec::is_offline`]). As something
    /// outside of the sandbox does that, it has to be proved from inside
    /// ([`isolate_network`](crate::SandboxBackend::isolate_network)).
    ///
    /// [`SandboxSpec::is_offline`]: crate::SandboxSpec::is_offline
    pub network_isolation: bool,
    /// Whether the sandbox's own server enforces the `ttl`, so that a change of it has to be sent to
    /// it. Otherwise only the backend enforces it.
    pub server_enforces_ttl: bool,
    /// Whether sandboxes run sandbox-sshd, which provides jobs, stores the environment for other
    /// processes, and ends idle sandboxes. An image's own server does none of this.
    pub sandbox_sshd: bool,
    /// Which limits can be applied.
    pub limits: LimitSupport,
}

/// Which limits a backend can apply to a whole sandbox.
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
    /// Returns the first limit of `requested` that cannot be applied.
    pub fn first_unsupported(&self, requested: &Resources) -> Option<&'static str> {
        [
            ("cpu", requested.cpu.is_some() && !self.cpu),
            ("memory", requested.memory.is_some() && !self.memory),
            ("disk", requested.disk.is_some() && !self.disk),
            ("pids", requested.pids.is_some() && !self.pids),
        ]
        .into_iter()
        .find_map(|(name, missing)| missing.then_some(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_paused_is_paused_even_if_its_start_is_reported_late() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10);
        let info = |state, is_marked_paused, seconds| SandboxInfo {
            id: "sbx-a".parse().unwrap(),
            uid: Uid::new("u"),
            backend: "k8s".to_owned(),
            state,
            address: None,
            port: None,
            user: "sandbox".to_owned(),
            home: None,
            image: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            created_at: SystemTime::UNIX_EPOCH,
            expires_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
            on_expiry: OnExpiry::Pause,
            is_marked_paused,
            isolation: Isolation {
                kind: "pod".to_owned(),
                applied: Vec::new(),
            },
            limits: Vec::new(),
            end: None,
            pool: None,
        };
        let (pending, running, ended) = (
            SandboxState::Pending,
            SandboxState::Running,
            SandboxState::Ended,
        );
        for (state, is_marked, ttl, expected) in [
            (pending, true, 20, true),
            (pending, false, 20, false),
            // Nothing has run that could pause it.
            (pending, false, 5, false),
            (running, true, 20, true),
            (running, false, 20, false),
            (running, false, 5, true),
            (ended, true, 20, false),
            (ended, false, 5, false),
        ] {
            let is_paused = info(state, is_marked, ttl).is_paused(now);
            assert_eq!(is_paused, expected, "{state:?} {is_marked} {ttl}");
        }
    }
}
