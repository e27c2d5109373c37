//! The state of a pool, for people and monitoring.

use std::time::SystemTime;

use sandbox_core::CreationReason;

/// The state of a pool at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// How many sandboxes can be taken at once.
    pub waiting: usize,
    /// How many are being created for the pool.
    pub filling: usize,
    /// How many should wait.
    pub target: usize,
    /// How many were taken that waited.
    pub hits: u64,
    /// How many takes found none waiting.
    pub misses: u64,
    /// Why sandboxes for the pool cannot be created at the moment: the pool is degraded. It ends
    /// with the next creation that succeeds.
    pub problem: Option<PoolProblem>,
    /// Whether the pool was closed.
    pub is_closed: bool,
}

/// Why a pool cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolProblem {
    /// The kind of failure, if the backend knows it.
    pub reason: Option<CreationReason>,
    /// The message of the latest failure.
    pub message: String,
    /// When creations began to fail.
    pub since: SystemTime,
    /// How many creations have failed since then. Zero if a sandbox only waits to be started, such
    /// as a Pod that fits on no node: it is held, so that it starts when there is room.
    pub failures: u32,
}

impl PoolStatus {
    /// Returns the share of takes that found a waiting sandbox, from 0 to 1; `None` before the
    /// first.
    pub fn hit_rate(&self) -> Option<f64> {
        let takes = self.hits + self.misses;
        (takes > 0).then(|| self.hits as f64 / takes as f64)
    }
}
