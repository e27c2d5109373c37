//! State that all connectors of a backend share.

use sandbox_core::ByteStream;

use super::port_forward::ProtocolChoice;
use super::route_cache::RouteCache;
use super::schedule::{StartupTimes, StartupWaits};
use super::uploads::Uploads;
use crate::manifest::options::KubernetesOptions;

/// What the connections of a backend have measured and found out.
pub(crate) struct ConnectState {
    pub(super) route_cache: RouteCache,
    pub(super) port_forward: ProtocolChoice,
    pub(super) startup_times: StartupTimes,
    pub(super) startup_waits: StartupWaits,
    pub(crate) uploads: Uploads,
}

impl ConnectState {
    pub(crate) fn new(options: &KubernetesOptions) -> Self {
        Self {
            route_cache: RouteCache::default(),
            port_forward: ProtocolChoice::default(),
            startup_times: StartupTimes::new(&options.injection),
            startup_waits: StartupWaits::new(options.startup_grace),
            uploads: Uploads::new(options),
        }
    }
}

pub(super) type Stream = Box<dyn ByteStream>;
