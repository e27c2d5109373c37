//! The state of a filler and of a shared pool, for people and monitoring.

use std::time::SystemTime;

use sandbox_core::{PoolKey, PoolName};

use crate::pool::status::PoolProblem;

/// The state of the filler of a shared pool at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FillerStatus {
    /// The key of what it fills the pool with. Sandboxes with another key are withdrawn.
    pub key: Option<PoolKey>,
    /// Whether it is the elected filler. Otherwise it stands by, and the numbers are zero.
    pub is_leading: bool,
    /// How many sandboxes can be claimed at once.
    pub waiting: usize,
    /// How many are being created, or adopted from a former filler.
    pub filling: usize,
    /// How many should wait.
    pub target: usize,
    /// How many claims it has seen.
    pub claimed: u64,
    /// Why sandboxes cannot be created at the moment, or why it cannot be elected: the pool is degraded.
    pub problem: Option<PoolProblem>,
    /// Whether it has stopped.
    pub is_stopped: bool,
}

/// A shared pool, or what remains of one with another key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSummary {
    /// The name of the pool.
    pub name: PoolName,
    /// The key of its sandboxes; `None` if it has none and no filler.
    pub key: Option<PoolKey>,
    /// How many can be claimed.
    pub waiting: usize,
    /// How many are being created.
    pub filling: usize,
    /// How many of those that were claimed still exist.
    pub taken: usize,
    /// How many are being deleted.
    pub draining: usize,
    /// The process that fills it with this key; `None` if there is none.
    pub filler: Option<String>,
    /// When the oldest one that waits was created.
    pub oldest: Option<SystemTime>,
}

impl PoolSummary {
    pub(super) fn new(name: PoolName, key: Option<PoolKey>) -> Self {
        Self {
            name,
            key,
            waiting: 0,
            filling: 0,
            taken: 0,
            draining: 0,
            filler: None,
            oldest: None,
        }
    }
}
