//! What a template stands for.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox::{ByteSize, Cpu, Egress, HostTransform, NamedUpstream};
use serde_json::Value;

/// What the name of a template stands for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Template {
    /// The container image. `None`: that of the settings; on this machine there is none.
    pub image: Option<String>,
    /// The limit on CPU time.
    pub cpu: Option<Cpu>,
    /// The limit on memory.
    pub memory: Option<ByteSize>,
    /// The limit on the disk.
    pub disk: Option<ByteSize>,
    /// The limit on processes and threads.
    pub pids: Option<u32>,
    /// Environment variables of every command. Those of a create request take precedence.
    pub env: BTreeMap<String, String>,
    /// The user that code runs as, and that commands run as and new files belong to unless a request names one. `None`: the
    /// user that the server in the sandbox runs as.
    pub user: Option<String>,
    /// What sandboxes may reach at most; a create request can only narrow it. `None`: what SANDBOX_EGRESS says, or else
    /// nothing; those of a shared pool what the network of the backend does.
    pub egress: Option<Egress>,
    /// Whether sandboxes have the network of their backend, instead of rules: that of the Pods, on a cluster.
    pub backend_network: bool,
    /// HTTPS origins that sandboxes reach by a name, with secrets that stay in the gateway. They need no rule.
    pub upstreams: Vec<NamedUpstream>,
    /// Hosts whose requests get secrets that stay in the gateway. A rule that allows each is added to those of `egress`.
    pub transforms: Vec<HostTransform>,
    /// How long a sandbox lasts if the create request has no timeout.
    pub timeout: Duration,
    /// How long it lasts at most, whatever is asked for later.
    pub max_lifetime: Duration,
    /// Sandboxes that wait.
    pub pool: Option<TemplatePool>,
    /// More names for the same template.
    pub aliases: Vec<String>,
    /// Options that only Kubernetes has, as JSON: node selectors, volumes and others.
    pub kubernetes: Option<Value>,
}

/// Sandboxes that wait, so that a creation takes no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePool {
    /// This gateway keeps so many ready; each replica has its own.
    Own {
        /// How many wait.
        size: usize,
    },
    /// A pool on the cluster, which replicas share and `sandbox pool run` fills.
    Shared {
        /// Its name.
        name: String,
    },
}

impl Default for Template {
    fn default() -> Self {
        Self {
            image: None,
            cpu: None,
            memory: None,
            disk: None,
            pids: None,
            env: BTreeMap::new(),
            user: None,
            egress: None,
            backend_network: false,
            upstreams: Vec::new(),
            transforms: Vec::new(),
            timeout: Duration::from_secs(300),
            max_lifetime: Duration::from_secs(24 * 60 * 60),
            pool: None,
            aliases: Vec::new(),
            kubernetes: None,
        }
    }
}

/// The templates that always exist, because E2B's SDKs ask for them by default.
pub(super) fn default_templates() -> BTreeMap<String, Template> {
    ["base", "code-interpreter-v1"]
        .map(|name| (name.to_owned(), Template::default()))
        .into()
}
