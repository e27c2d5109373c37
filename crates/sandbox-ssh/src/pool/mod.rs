//! Slots on shared connections, handed out by deadpool.
//!
//! A *slot* is the right to have one channel open on a connection. deadpool keeps the slots
//! that are not in use and says at each checkout, without I/O, whether one is still good; a
//! slot that it has not yet comes from the least busy connection, or from a new one. In front
//! of it stands a count of how many channels may be in use at once, which shrinks when a
//! server turns out to allow fewer, and grows when callers wait.

mod connections;
mod dialer;
mod lease;
mod permits;

use std::sync::Arc;

use deadpool::managed::{Pool, PoolError, QueueMode};
use futures_util::FutureExt;
use sandbox_core::{Deadline, Error, Result, SandboxId, metrics};

pub use connections::PoolStatus;
pub(crate) use dialer::Dialer;
pub(crate) use lease::Lease;
pub(crate) use permits::Bounds;

use crate::options::SshOptions;
use connections::{Connections, evicted};
use lease::SlotManager;
use permits::Permits;

/// The connections of one purpose to one sandbox.
#[derive(Clone)]
pub(crate) struct SlotPool {
    pool: Pool<SlotManager>,
    connections: Arc<Connections>,
    capacity: Arc<Permits>,
}

impl SlotPool {
    /// A pool without connections. It may take over one that `donor` has not used yet.
    pub(crate) fn new(dialer: Dialer, bounds: Bounds, donor: Option<&Self>) -> Result<Self> {
        let donor = donor.map(|pool| Arc::clone(&pool.connections));
        let connections = Arc::new(Connections::new(dialer, bounds, donor));
        let manager = SlotManager(Arc::clone(&connections));
        let most = bounds
            .max_connections
            .saturating_mul(bounds.channels_per_connection)
            .max(1);
        let pool = Pool::builder(manager)
            .max_size(most)
            .queue_mode(QueueMode::Lifo)
            .build()
            .map_err(|source| Error::Backend {
                backend: "ssh",
                operation: "make a pool",
                message: "the pool's settings are not usable".into(),
                transient: false,
                source: Some(Box::new(source)),
            })?;
        let capacity = Arc::new(Permits::new(bounds));
        Ok(Self {
            pool,
            connections,
            capacity,
        })
    }

    /// Makes sure that there is a live connection, trying until the deadline.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.connections.ensure(deadline).await
    }

    /// A slot: at once when one is free, else as soon as there is one.
    pub(crate) async fn checkout(&self, deadline: Deadline) -> Result<Lease> {
        let begun = metrics::Timer::start();
        let lease = deadline
            .bound("waiting for a free channel", async {
                let turn = self.capacity.acquire().await.ok_or_else(evicted)?;
                let slot = self.pool.get().await.map_err(|error| match error {
                    PoolError::Backend(error) => error,
                    _ => evicted(),
                })?;
                let lease = Lease::new(slot, turn);
                let safe = lease.conn().safe_channels();
                if safe < usize::MAX {
                    self.lower(safe);
                }
                Ok(lease)
            })
            .await;
        metrics::record_slot_wait(begun, &lease);
        lease
    }

    /// A slot of a connection that is there, if it can be had at once and others are left.
    pub(crate) fn try_checkout(&self) -> Option<Lease> {
        let turn = self.capacity.try_acquire()?;
        if self.pool.status().available == 0 && !self.connections.has_room() {
            return None;
        }
        let slot = self.pool.get().now_or_never()?.ok()?;
        Some(Lease::new(slot, turn))
    }

    /// Takes note that the server refused a channel on this slot's connection.
    pub(crate) fn lower_after_refusal(&self, lease: &Lease) {
        self.lower(lease.conn().state.allowed_channels());
    }

    fn lower(&self, allowed: usize) {
        self.capacity.lower(self.connections.lower_limit(allowed));
    }

    /// Closes what is too old, dead, or was not used for long.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.connections.retire(options);
        // Dropped here, outside of the pool's lock.
        let removed = self.pool.retain(|slot, _| slot.conn().is_usable()).removed;
        drop(removed);
        drop(self.connections.sweep());
        if self.status().busy == 0 {
            self.capacity.shrink();
        }
    }

    /// Ends every connection, and everything that runs over them.
    pub(crate) fn close(&self) {
        self.capacity.close();
        self.pool.close();
        self.connections.close();
    }

    /// Which sandbox it is, for messages.
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
