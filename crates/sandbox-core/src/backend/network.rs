//! How a sandbox that could reach other hosts is kept from them.

use std::fmt;
use std::net::SocketAddr;

/// What is to keep a sandbox from the network, and how that is proved: an order from outside, such as a NetworkPolicy,
/// is only known to be obeyed once the sandbox reaches none of the canaries.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkIsolation {
    /// What every sandbox reaches that is not kept from it. At least one.
    pub canaries: Vec<Canary>,
    /// Whether the order was there before, so that a proof from then still holds.
    pub was_ordered: bool,
    /// Who has to obey, and what to do if it does not, as a clause: `the network plugin …`.
    pub remedy: String,
}

impl NetworkIsolation {
    /// Describes an isolation that was not there before.
    pub fn new(canaries: Vec<Canary>, remedy: impl Into<String>) -> Self {
        Self {
            canaries,
            was_ordered: false,
            remedy: remedy.into(),
        }
    }
}

/// An address that an isolated sandbox must not reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// What it is, as a noun phrase: `the API server`.
    pub name: &'static str,
    /// Where it is.
    pub address: SocketAddr,
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}
