//! What the bench and the programs that it measures say to each other: a line of JSON each way.
//!
//! Every client under test is a process of its own, ours like the others, so that processor time
//! and memory mean the same for all.

use serde::{Deserialize, Serialize};

/// Where a client connects to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) user: String,
    /// The keys are there: `host`, `host.pub`, `user`, and `known_hosts`.
    pub(crate) directory: String,
    /// The server is our own.
    pub(crate) own: bool,
    /// How many connections one file may take.
    pub(crate) stripes: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Op {
    /// A new connection, until it has authenticated.
    Handshake,
    /// Connects, for the operations that follow. Transfers connect by themselves.
    Warm,
    /// `/bin/true`, so many times, one right after the other, as programs do it.
    Exec { times: usize },
    /// As many of it as so many callers get done in so many seconds.
    Many { callers: usize, seconds: f64 },
    /// One file.
    Put { local: String, remote: String },
    /// One file.
    Get { remote: String, local: String },
    /// A directory, which is not there yet.
    Puttree { local: String, remote: String },
    /// A directory, which is not there yet.
    Gettree { remote: String, local: String },
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// From dialling, where the operation connects, to the end of it.
    #[serde(default)]
    pub(crate) seconds: f64,
    /// Of each command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) each: Vec<f64>,
    /// Commands.
    #[serde(default)]
    pub(crate) count: u64,
    /// Seconds of processor time of the client, all its processes together.
    #[serde(default)]
    pub(crate) cpu: f64,
    /// KiB of memory that the client's largest process had at most.
    #[serde(default)]
    pub(crate) peak: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}
