//! What all connectors of a backend share.

use sandbox_core::ByteStream;

use super::route_cache::RouteCache;
use super::schedule::{StartupTimes, StartupWaits};
use crate::manifest::options::KubernetesOptions;

/// What the connections of a backend have found out, of all its connectors.
pub(crate) struct ConnectState {
    /// What [`Transport::Auto`] needs.
    pub(super) found: RouteCache,
    pub(super) pace: StartupTimes,
    pub(super) waits: StartupWaits,
}

impl ConnectState {
    pub(crate) fn new(options: &KubernetesOptions) -> Self {
        Self {
            found: RouteCache::default(),
            pace: StartupTimes::new(&options.injection),
            waits: StartupWaits::new(options.startup_grace),
        }
    }
}

pub(super) type Stream = Box<dyn ByteStream>;
