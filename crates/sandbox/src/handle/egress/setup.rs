//! How a sandbox is to reach the network.

use std::sync::Arc;

use sandbox_core::{Capabilities, Error, Result, SandboxInfo};
use sandbox_egress::{Dial, Egress, EgressEvent, NamedUpstream, Proxy, ProxyBuilder, Resolve};

/// Called for each decision of the proxy.
pub(crate) type EgressHook = Arc<dyn Fn(&EgressEvent) + Send + Sync>;

/// How a sandbox is to reach the network.
#[derive(Clone, Default)]
pub(crate) struct EgressSetup {
    /// Without rules nothing is served.
    pub(crate) rules: Option<Egress>,
    pub(crate) hook: Option<EgressHook>,
    /// The sandbox may have another way out.
    pub(crate) is_unverified: bool,
    /// How names become addresses, and addresses connections, if not as on this machine.
    pub(crate) network: Option<(Arc<dyn Resolve>, Arc<dyn Dial>)>,
    /// Reached by name, with credentials that stay in this process.
    pub(crate) upstreams: Vec<NamedUpstream>,
}

impl EgressSetup {
    pub(crate) fn new(rules: Egress) -> Self {
        Self {
            rules: Some(rules),
            ..Self::default()
        }
    }

    /// Returns itself if anything is to be served.
    pub(crate) fn if_served(self) -> Option<Self> {
        (self.rules.is_some() || !self.upstreams.is_empty()).then_some(self)
    }

    /// Begins a proxy. What cannot be served is refused here, before anything is created.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for upstreams that exclude each other or that cannot be verified.
    pub(crate) fn build_proxy(&self) -> Result<ProxyBuilder> {
        let rules = self.rules.clone().unwrap_or_else(Egress::none);
        let mut builder = Proxy::builder(rules).upstreams(self.upstreams.iter().cloned())?;
        if let Some((resolver, dialer)) = &self.network {
            builder = builder
                .resolver(Arc::clone(resolver))
                .dialer(Arc::clone(dialer));
        }
        Ok(builder)
    }

    /// Refuses to share what one process serves.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there are rules or upstreams.
    pub(crate) fn check_shared_pool(&self) -> Result<()> {
        if let Some(upstream) = self.upstreams.first() {
            return Err(Error::unsupported(
                format!("the upstream {}", upstream.name()),
                "a pool that processes share",
                "leave it out; serve the upstreams of a claimed sandbox with Sandbox::serve_egress",
            ));
        }
        match &self.rules {
            Some(rules) => Err(Error::unsupported(
                format!("egress rules ({rules})"),
                "a pool that processes share",
                "leave them and SANDBOX_EGRESS out; serve the egress of a claimed sandbox with Sandbox::serve_egress",
            )),
            None => Ok(()),
        }
    }

    /// Refuses, before anything is created, what the backend cannot enforce.
    pub(crate) fn check_backend(&self, capabilities: &Capabilities, backend: &str) -> Result<()> {
        if capabilities.network && !self.is_unverified {
            return Err(unenforced_error(&format!("the backend {backend}")));
        }
        Ok(())
    }

    /// Refuses a sandbox that has another way out.
    pub(crate) fn check_sandbox(&self, info: &SandboxInfo) -> Result<()> {
        let has_no_network = info
            .isolation
            .applied
            .iter()
            .any(|one| one == NETWORK_NAMESPACE);
        if has_no_network || self.is_unverified {
            return Ok(());
        }
        Err(unenforced_error(&format!(
            "a sandbox that is isolated by {}",
            info.isolation.kind
        )))
    }
}

/// The mechanism that leaves a sandbox without a network, as backends name it.
const NETWORK_NAMESPACE: &str = "network namespace";

fn unenforced_error(by: &str) -> Error {
    Error::unsupported_because(
        "enforcing egress rules",
        by,
        "the sandbox can reach the network in other ways than through the rules",
        "use local sandboxes with namespaces, or call unverified_egress() if something else confines it \
         (--egress-unverified)",
    )
}
