//! A sandbox that a key owns.

use std::time::SystemTime;

use sandbox::SandboxInfo;

use super::record::Record;

/// A sandbox that a gateway has created for the holder of a key.
#[derive(Debug, Clone)]
pub(crate) struct Owned {
    /// What the backend says.
    pub(crate) info: SandboxInfo,
    /// What the gateway has recorded.
    pub(crate) record: Record,
}

impl Owned {
    /// When it was handed out. It may have waited in a pool before.
    pub(crate) fn started_at(&self) -> SystemTime {
        self.record.started_at.unwrap_or(self.info.created_at)
    }

    /// When it ends. One that has no end gets one in a year, because clients need one.
    pub(crate) fn ends_at(&self, now: SystemTime) -> SystemTime {
        const YEAR: std::time::Duration = std::time::Duration::from_secs(365 * 24 * 60 * 60);
        self.info.expires_at.unwrap_or(now + YEAR)
    }

    /// Whether it is paused, as far as the backend knows: by request, or because its timeout has passed.
    pub(crate) fn is_paused(&self, now: SystemTime) -> bool {
        self.info.is_paused(now)
    }
}
