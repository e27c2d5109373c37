//! What all connectors of a backend share.

use sandbox_core::ByteStream;

use super::route_cache::Found;
use super::schedule::{Pace, Waits};
use crate::manifest::options::KubernetesOptions;

/// What the connections of a backend have found out, of all its connectors.
pub(crate) struct Learned {
    /// What [`Transport::Auto`] needs.
    pub(super) found: Found,
    pub(super) pace: Pace,
    pub(super) waits: Waits,
}

impl Learned {
    pub(crate) fn new(options: &KubernetesOptions) -> Self {
        Self {
            found: Found::default(),
            pace: Pace::new(&options.injection),
            waits: Waits::new(options.startup_grace),
        }
    }
}

pub(super) type Stream = Box<dyn ByteStream>;
