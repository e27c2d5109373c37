//! What a sandbox may reach.
//!
//! | item | purpose |
//! |---|---|
//! | [`Egress`] | the rules: which names, networks and ports a sandbox may reach |
//! | [`NamedUpstream`] | an HTTPS origin that is reached by a name, with a credential that the sandbox never has |
//! | [`HostTransform`] | a host whose requests get a secret that the sandbox never has, although the proxy is not asked by name |
//! | [`Proxy`] | carries a sandbox's connections, each only if the rules allow it |
//! | [`Resolve`], [`Dial`] | how names become addresses, and addresses connections |
//! | [`Ask`] | decides about names that no rule decides about |
//! | [`EgressEvent`] | what the proxy decided about one connection |
//!
//! A sandbox without a network has one way out: a port on its loopback interface that leads to a [`Proxy`] in the process
//! of its client. The proxy speaks HTTP (`CONNECT` and absolute-form requests, RFC 9110 §7.3 and §9.3.6) and SOCKS 5 (RFC
//! 1928). It resolves the names itself, and connects only to addresses that it has checked.
//!
//! ```
//! use sandbox_egress::{Egress, Proxy};
//!
//! # fn main() -> sandbox_core::Result<()> {
//! let rules = Egress::packages().allow("api.example.com:443")?.deny("*.evil.example")?;
//! let proxy = Proxy::new(rules);
//! proxy.update(Egress::none())?;
//! # Ok(())
//! # }
//! ```

mod ask;
mod credential;
mod dial;
mod event;
mod hop_by_hop;
mod intercept;
mod limits;
mod proxy;
mod resolve;
mod rules;
mod tls;
mod upstream;
mod variable;

pub use ask::{Answer, Ask};
pub use dial::{Dial, DirectDialer, Upstream};
pub use event::{EgressEvent, EgressEvents, EgressOutcome};
pub use intercept::HostTransform;
pub use limits::Limits;
pub use proxy::{Proxy, ProxyBuilder};
pub use resolve::{Resolve, SystemResolver};
pub use rules::{Egress, PRESETS};
pub use tls::machine_authorities;
pub use upstream::{NamedUpstream, UPSTREAM_KINDS, UpstreamKind};
