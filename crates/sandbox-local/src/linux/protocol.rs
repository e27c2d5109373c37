//! What a client and the supervisor it starts tell each other: a plan one way, one reply the
//! other, each one line of JSON, and an acknowledgement.
//!
//! The plan goes through a pipe, for keys in arguments or the environment could be read by
//! others. Until it is acknowledged, a client that is gone takes the sandbox with it.

use std::path::PathBuf;
use std::time::SystemTime;

use sandbox_core::{Lifetime, Resources, SandboxId, SandboxInfo, Uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::linux::failure::Failure;
use crate::options::IsolationLevel;

/// The format of the plan; both sides must be of one build.
pub(crate) const PLAN_VERSION: u32 = 1;
/// What a client writes after a good reply.
pub(crate) const ACKNOWLEDGEMENT: &[u8] = b"\n";

/// Everything that a supervisor needs. It holds keys: no `Debug`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    pub(crate) uid: Uid,
    pub(crate) state_dir: PathBuf,
    pub(crate) isolation: IsolationLevel,
    pub(crate) asked: Resources,
    pub(crate) defaults: Resources,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) lifetime: Lifetime,
    pub(crate) created_at: SystemTime,
    pub(crate) read_only_paths: Vec<PathBuf>,
    /// OpenSSH text of the host's private key; it stays in memory.
    pub(crate) host_key: String,
    /// OpenSSH text of the client's private key; it is kept with the sandbox, so that another
    /// process can take it up.
    pub(crate) client_key: String,
}

impl Drop for Plan {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.host_key);
        zeroize::Zeroize::zeroize(&mut self.client_key);
    }
}

/// What a supervisor answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The sandbox's server accepts connections.
    Listening(Box<SandboxInfo>),
    /// Nothing was left of it.
    Failed(Failure),
}

/// What the first process inside tells its supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// It is confined, by these means, and serves.
    Serving(Vec<String>),
    /// It could not be confined.
    Failed(Failure),
}
