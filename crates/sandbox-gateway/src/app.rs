//! What all requests share.

use crate::config::GatewayConfig;
use crate::sandboxes::Sandboxes;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    /// The settings.
    pub(crate) config: GatewayConfig,
    /// The sandboxes, and the tokens that belong to them.
    pub(crate) sandboxes: Sandboxes,
}
