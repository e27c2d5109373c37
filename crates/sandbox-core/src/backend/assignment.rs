//! What a sandbox of a pool gets when it is handed out.

use std::collections::BTreeMap;
use std::time::Duration;

/// The labels and the `ttl` of a sandbox that waited in a pool, as
/// [`SandboxBackend::assign`](crate::SandboxBackend::assign) writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// Labels to add. They replace those with the same key.
    pub labels: BTreeMap<String, String>,
    /// The sandbox ends this long after the assignment. `None` leaves its end as it is.
    pub ttl: Option<Duration>,
}

impl Assignment {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.ttl.is_none()
    }
}
