//! Slots on shared connections, handed out by deadpool.
//!
//! A *slot* is room for one channel on a connection. deadpool keeps the slots that are not in use, and
//! checks at each checkout, without I/O, whether one is still usable. Further slots come from the
//! least busy connection, or from a new one. Before a slot, a caller needs a *permit*. The number of
//! permits is lowered if a server turns out to allow fewer channels, and raised if callers wait.

mod connections;
mod dialer;
mod permits;
mod slot_in_use;

use std::sync::Arc;

use deadpool::managed::{Pool, PoolError, QueueMode};
use futures_util::FutureExt;
use sandbox_core::{Deadline, Error, Result, SandboxId, metrics};

pub use connections::PoolStatus;
pub(crate) use dialer::Dialer;
pub(crate) use permits::Bounds;
pub(crate) use slot_in_use::SlotInUse;

use crate::options::SshOptions;
use connections::{Connections, eviction_error};
use permits::Permits;
use slot_in_use::SlotManager;

/// The connections of one purpose to one sandbox.
#[derive(Clone)]
pub(crate) struct SlotPool {
    pool: Pool<SlotManager>,
    connections: Arc<Connections>,
    permits: Arc<Permits>,
}

impl SlotPool {
    /// Creates a pool without connections. It may take over an unused connection of `donor`.
    pub(crate) fn new(dialer: Dialer, bounds: Bounds, donor: Option<&Self>) -> Result<Self> {
        let donor = donor.map(|pool| Arc::clone(&pool.connections));
        let connections = Arc::new(Connections::new(dialer, bounds, donor));
        let manager = SlotManager(Arc::clone(&connections));
        let max_slots = bounds
            .max_connections
            .saturating_mul(bounds.channels_per_connection)
            .max(1);
        let pool = Pool::builder(manager)
            .max_size(max_slots)
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|source| Error::Backend {
                backend: "ssh",
                operation: "create a pool",
                message: "the pool's settings are not usable".into(),
                transient: false,
                source: Some(Box::new(source)),
            })?;
        let permits = Arc::new(Permits::new(bounds));
        Ok(Self {
            pool,
            connections,
            permits,
        })
    }

    /// Makes sure that there is a live connection, trying until the deadline.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.connections.ensure(deadline).await
    }

    /// Takes a slot: at once if one is free, else as soon as one is.
    pub(crate) async fn checkout(&self, deadline: Deadline) -> Result<SlotInUse> {
        let begun = metrics::Timer::start();
        let in_use = deadline
            .bound("waiting for a free channel", async {
                let permit = self.permits.acquire().await.ok_or_else(eviction_error)?;
                let slot = self.pool.get().await.map_err(|error| match error {
                    PoolError::Backend(error) => error,
                    _ => eviction_error(),
                })?;
                let in_use = SlotInUse::new(slot, permit);
                let safe = in_use.conn().safe_channels();
                if safe < usize::MAX {
                    self.lower(safe);
                }
                Ok(in_use)
            })
            .await;
        metrics::record_slot_wait(begun, &in_use);
        in_use
    }

    /// Takes a slot of an existing connection, if one is free at once and enough others remain.
    pub(crate) fn try_checkout(&self) -> Option<SlotInUse> {
        let permit = self.permits.try_acquire()?;
        if self.pool.status().available == 0 && !self.connections.has_room() {
            return None;
        }
        let slot = self.pool.get().now_or_never()?.ok()?;
        Some(SlotInUse::new(slot, permit))
    }

    /// Whether all slots are in use, and no further connection is allowed.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.permits.is_exhausted()
    }

    /// Lowers the limit of channels, because the server refused one on this connection.
    pub(crate) fn lower_after_refusal(&self, slot: &SlotInUse) {
        self.lower(slot.conn().state.allowed_channels());
    }

    fn lower(&self, allowed: usize) {
        self.permits.lower(self.connections.lower_limit(allowed));
    }

    /// Whether the server is sandbox-sshd; `None` without a connection.
    pub(crate) fn is_sandbox_sshd(&self) -> Option<bool> {
        self.connections.is_sandbox_sshd()
    }

    /// Closes connections that are too old, dead or idle.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.connections.retire(options);
        // Dropped here, outside of the pool's lock.
        let removed = self.pool.retain(|slot, _| slot.conn().is_usable()).removed;
        drop(removed);
        drop(self.connections.sweep());
        if self.status().busy == 0 {
            self.permits.shrink();
        }
    }

    /// Ends every connection, and everything that runs over them.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.pool.close();
        self.connections.close();
    }

    /// The sandbox's id, for messages.
    pub(crate) fn sandbox(&self) -> SandboxId {
        self.connections.sandbox()
    }

    pub(crate) fn status(&self) -> PoolStatus {
        self.connections.status()
    }
}

impl std::fmt::Debug for SlotPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotPool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
