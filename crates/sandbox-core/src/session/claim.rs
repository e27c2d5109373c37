//! How a client takes over a sandbox from a shared pool.

use std::time::Duration;

use crate::PublicKey;

/// What the server of a sandbox changes when a client claims it, as
/// [`Session::claim`](crate::Session::claim) sends it. Durations are sent in whole seconds, rounded up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClaimRequest {
    /// The only key that may log in from now on.
    pub authorized: PublicKey,
    /// Ends the sandbox after this long without an authenticated client. `None` means detached.
    pub attach_timeout: Option<Duration>,
    /// Ends the sandbox this long from now; can be extended. `None` leaves its `ttl` as it is.
    pub ttl: Option<Duration>,
    /// Ends the sandbox this long from now, if that is sooner than it would end. `None` leaves its end
    /// as it is.
    pub max_lifetime: Option<Duration>,
}

impl ClaimRequest {
    /// Claims a sandbox for this key: detached, with the ends that it has.
    pub fn new(authorized: PublicKey) -> Self {
        Self {
            authorized,
            attach_timeout: None,
            ttl: None,
            max_lifetime: None,
        }
    }
}
