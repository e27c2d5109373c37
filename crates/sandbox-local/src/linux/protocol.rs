//! The messages between a client, the supervisor that it starts, and the server process.
//!
//! The client writes a plan, the supervisor one reply, each a line of JSON. The client then writes an
//! acknowledgement; if the client ends before that, the supervisor removes the sandbox. The plan goes
//! through a pipe because other users could read keys in arguments, and children those in the
//! environment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use sandbox_core::{Lifetime, Resources, SandboxId, SandboxInfo, Uid};
use serde::{Deserialize, Serialize};

use crate::linux::failure::Failure;
use crate::options::IsolationLevel;

/// The version of the plan's format. Both sides must be of one release.
pub(crate) const PLAN_VERSION: u32 = 3;
/// The message of a client that has received [`Reply::Listening`].
pub(crate) const ACKNOWLEDGEMENT: &[u8] = b"\n";

/// The input of a supervisor. It does not implement `Debug` because it holds keys.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) version: u32,
    pub(crate) id: SandboxId,
    pub(crate) uid: Uid,
    pub(crate) state_dir: PathBuf,
    pub(crate) isolation: IsolationLevel,
    #[serde(rename = "asked")]
    pub(crate) requested: Resources,
    pub(crate) defaults: Resources,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) lifetime: Lifetime,
    pub(crate) created_at: SystemTime,
    /// The login name inside.
    pub(crate) user: String,
    pub(crate) read_only_paths: Vec<PathBuf>,
    /// The private host key in OpenSSH's format; it stays in memory.
    pub(crate) host_key: String,
    /// The client's private key in OpenSSH's format; it is stored with the sandbox, so that other
    /// processes of the user can connect.
    pub(crate) client_key: String,
}

impl Drop for Plan {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.host_key);
        zeroize::Zeroize::zeroize(&mut self.client_key);
    }
}

/// The reply of a supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The sandbox's server accepts connections.
    Listening(Box<SandboxInfo>),
    /// The creation failed, and everything has been removed.
    Failed(Failure),
}

/// The report of the server process to its supervisor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Report {
    /// The process is confined, by these mechanisms, and accepts connections.
    Serving(Vec<String>),
    /// The process could not be confined or could not serve.
    Failed(Failure),
}
