//! What the operator permits. Nothing here can be changed by a client or a model.

use std::path::PathBuf;
use std::time::Duration;

use sandbox::{Egress, HostTransform, Lifetime, NamedUpstream};

/// What the operator permits. The defaults suit one person and one model on one machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct McpConfig {
    /// The images that a model may choose from; the first is the default. Without any, sandboxes have the backend's own
    /// image and a model chooses none.
    pub images: Vec<String>,
    /// The most sandboxes that exist at once, over all sessions.
    pub max_sandboxes: usize,
    /// The CPU limit of a sandbox, such as `500m`.
    pub cpu: Option<String>,
    /// The memory limit of a sandbox, such as `512Mi`.
    pub memory: Option<String>,
    /// The disk limit of a sandbox, such as `1Gi`.
    pub disk: Option<String>,
    /// The most processes and threads of a sandbox.
    pub pids: Option<u32>,
    /// How long a sandbox lasts after it was last used.
    pub ttl: Duration,
    /// What a sandbox may reach. Without it, what the settings of the client say (`SANDBOX_EGRESS`); without both, nothing.
    pub egress: Option<Egress>,
    /// HTTPS origins that a sandbox reaches by a name, with secrets that stay in this process. They need no rule.
    pub upstreams: Vec<NamedUpstream>,
    /// Hosts whose requests get secrets that stay in this process. A rule that allows each is added to those of `egress`.
    pub transforms: Vec<HostTransform>,
    /// Whether a sandbox without rules has the network of its backend: that of the Pods, on a cluster. Rules, upstreams and
    /// transforms exclude it.
    pub backend_network: bool,
    /// Whether sandboxes with a network of their own, which can reach more than the rules allow, are accepted.
    pub unverified_egress: bool,
    /// The directory that `upload` reads and `download` writes. Without it there are no such tools.
    pub share: Option<PathBuf>,
    /// Whether there is the tool `port_url`, which opens a port of a sandbox on this machine's loopback interface.
    pub preview: bool,
    /// The file that gets a line of JSON for each call, and for each decision about what a sandbox has asked to reach.
    pub audit: Option<PathBuf>,
}

impl Default for McpConfig {
    fn default() -> Self {
        Self {
            images: Vec::new(),
            max_sandboxes: 8,
            cpu: None,
            memory: None,
            disk: None,
            pids: None,
            ttl: Duration::from_secs(60 * 60),
            egress: None,
            upstreams: Vec::new(),
            transforms: Vec::new(),
            backend_network: false,
            unverified_egress: false,
            share: None,
            preview: false,
            audit: None,
        }
    }
}

impl McpConfig {
    /// The hard end of a sandbox, which use does not postpone.
    pub(crate) fn max_lifetime(&self) -> Duration {
        self.ttl.max(Lifetime::DEFAULT_MAX)
    }
}
