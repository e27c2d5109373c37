//! What all requests share.

use tokio_util::task::TaskTracker;

use crate::config::GatewayConfig;
use crate::keys::Keys;
use crate::sandboxes::Sandboxes;
use crate::sandboxes::creations::Creations;
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
    /// The creations under way.
    pub(crate) creations: Creations,
    /// Work that goes on when its request has ended. The gateway waits for it at the end.
    pub(crate) tasks: TaskTracker,
}
