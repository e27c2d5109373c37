//! What all requests share.

use crate::config::GatewayConfig;
use crate::keys::Keys;
use crate::sandboxes::Sandboxes;
use crate::upstream::Upstreams;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    /// The settings.
    pub(crate) config: GatewayConfig,
    /// The keys of callers.
    pub(crate) keys: Keys,
    /// The sandboxes, and the tokens that belong to them.
    pub(crate) sandboxes: Sandboxes,
    /// Connections to servers inside them.
    pub(crate) upstreams: Upstreams,
}
