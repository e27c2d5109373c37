//! How a sandbox is to reach the network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Capabilities, Error, Result, SandboxInfo};
use sandbox_egress::{
    Ask, Dial, Egress, EgressEvent, HostTransform, NamedUpstream, Proxy, ProxyBuilder, Resolve,
};

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
    /// Addresses that only rules of their own allow: those of what controls the sandboxes.
    pub(crate) refused: Vec<IpAddr>,
    /// How names become addresses, and addresses connections, if not as on this machine.
    pub(crate) network: Option<(Arc<dyn Resolve>, Arc<dyn Dial>)>,
    /// Reached by name, with credentials that stay in this process.
    pub(crate) upstreams: Vec<NamedUpstream>,
    /// Hosts that are intercepted.
    pub(crate) transforms: Vec<HostTransform>,
    /// How long the sandbox can live, if that is known.
    pub(crate) lifetime: Option<Duration>,
    /// Who is asked about names that no rule decides about.
    pub(crate) ask: Option<Arc<dyn Ask>>,
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
        self.is_served().then_some(self)
    }

    pub(crate) fn is_served(&self) -> bool {
        self.rules.is_some() || !self.upstreams.is_empty() || !self.transforms.is_empty()
    }

    /// Begins a proxy. What cannot be served is refused here, before anything is created.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for upstreams or transforms that exclude each other or that cannot be verified, and for rules that
    /// exclude transforms; [`Error::Unsupported`] for transforms if nothing enforces the rules.
    pub(crate) fn build_proxy(&self) -> Result<ProxyBuilder> {
        if let Some(transform) = self.transforms.first().filter(|_| self.is_unverified) {
            return Err(Error::unsupported_because(
                format!("the transform of {}", transform.host()),
                "a sandbox whose egress is not verified",
                "it may reach every host, and so send what the secret gives to any",
                "leave out unverified_egress() (--egress-unverified), or the transform",
            ));
        }
        let lifetime = self.lifetime.unwrap_or(UNKNOWN_LIFETIME);
        let rules = self.rules.clone().unwrap_or_else(Egress::none);
        let mut builder = Proxy::builder(HostTransform::add_rules(&self.transforms, rules))
            .refuse(self.refused.iter().copied())
            .upstreams(self.upstreams.iter().cloned())?
            .transforms(self.transforms.iter().cloned(), lifetime)?;
        if let Some((resolver, dialer)) = &self.network {
            builder = builder
                .resolver(Arc::clone(resolver))
                .dialer(Arc::clone(dialer));
        }
        Ok(builder)
    }

    /// Whether the backend has to keep the sandbox from its network, which is then proved from inside.
    pub(crate) fn needs_isolation(&self, capabilities: &Capabilities) -> bool {
        self.is_served() && capabilities.network && !self.is_unverified
    }

    /// Returns whether the sandboxes of a shared pool are to have no network: rules that allow nothing say so. Other rules
    /// are those of whoever claims a sandbox, because the proxy is in that process.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] if there are other rules, upstreams or transforms, or if they are not to be verified.
    pub(crate) fn is_pool_offline(&self) -> Result<bool> {
        if let Some(upstream) = self.upstreams.first() {
            return Err(Error::unsupported(
                format!("the upstream {}", upstream.name()),
                "a pool that processes share",
                "leave it out, and give it at the claim",
            ));
        }
        if let Some(transform) = self.transforms.first() {
            return Err(Error::unsupported(
                format!("the transform of {}", transform.host()),
                "a pool that processes share",
                "leave it out, and give it at the claim",
            ));
        }
        match &self.rules {
            None => Ok(false),
            Some(rules) if rules.is_none() && !self.is_unverified => Ok(true),
            Some(rules) => Err(Error::unsupported_because(
                format!("egress rules ({rules})"),
                "a pool that processes share",
                "they are those of whoever claims a sandbox",
                "fill the pool without rules, or with those that allow nothing (Egress::none(), --egress none), and \
                 give others at the claim",
            )),
        }
    }

    /// Refuses, before anything is created, what the backend cannot enforce.
    pub(crate) fn check_backend(&self, capabilities: &Capabilities, backend: &str) -> Result<()> {
        if self.needs_isolation(capabilities) && !capabilities.network_isolation {
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

/// How long certificates are valid for a sandbox of which it is not known how long it can live.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// The mechanism that leaves a sandbox without a network, as backends name it.
const NETWORK_NAMESPACE: &str = "network namespace";

fn unenforced_error(by: &str) -> Error {
    Error::unsupported_because(
        "enforcing egress rules",
        by,
        "the sandbox can reach the network in other ways than through the rules",
        "use local sandboxes with namespaces, or accept that with unverified_egress()",
    )
}
