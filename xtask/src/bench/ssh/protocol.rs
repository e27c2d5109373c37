//! The protocol between the benchmark and its clients: a line of JSON in each direction.
//!
//! Every client under test is a separate process, ours like the others, so that processor time and
//! memory mean the same for all.

use serde::{Deserialize, Serialize};

/// The server that a client connects to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The directory of `host`, `host.pub`, `user` and `known_hosts`.
    pub(crate) directory: String,
    /// Whether the server is sandbox-sshd.
    #[serde(rename = "own")]
    pub(crate) is_sandbox_sshd: bool,
    /// How many connections a transfer of one file may use.
    pub(crate) stripes: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Op {
    /// Opens a new connection, until it has authenticated.
    Handshake,
    /// Connects, for the operations that follow. Transfers connect by themselves.
    Warm,
    /// Runs `/bin/true` so many times, one after another, as programs do.
    Exec { times: usize },
    /// Runs `/bin/true` with so many concurrent callers for so many seconds.
    Many { callers: usize, seconds: f64 },
    /// Uploads a file.
    Put { local: String, remote: String },
    /// Downloads a file.
    Get { remote: String, local: String },
    /// Uploads a directory that does not exist yet.
    Puttree { local: String, remote: String },
    /// Downloads a directory that does not exist yet.
    Gettree { remote: String, local: String },
}

/// The result of an operation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// From dialling, if the operation connects, to its end.
    #[serde(default)]
    pub(crate) seconds: f64,
    /// The seconds of each command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) each: Vec<f64>,
    /// The number of commands.
    #[serde(default)]
    pub(crate) count: u64,
    /// Seconds of processor time of the client, all its processes together.
    #[serde(default)]
    pub(crate) cpu: f64,
    /// Peak memory of the client's largest process in KiB.
    #[serde(default)]
    pub(crate) peak: u64,
    /// Why the operation failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}
