//! Slots on shared connections, handed out by deadpool.
//!
//! A *slot* is the right to have one channel open on a connection. deadpool keeps the slots
//! that are not in use and says at each checkout, without I/O, whether one is still good; a
//! slot that it has not yet comes from the least busy connection, or from a new one. In front
//! of it stands a count of how many channels may be in use at once, which shrinks when a
//! server turns out to allow fewer, and grows when callers wait.

mod ahead;
mod capacity;
mod connections;
mod lease;

use std::sync::Arc;
use std::time::Duration;

use deadpool::managed::{
    Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult,
};
use futures_util::FutureExt;
use sandbox_core::{ConnectionStage, Deadline, Error, Result, SandboxId, metrics};

pub(crate) use connections::{Connections, Dialer};
pub(crate) use lease::Lease;

use crate::options::SshOptions;
use ahead::Ahead;
use capacity::Capacity;
use connections::Slot;

/// How many channels and connections a pool may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) channels_per_connection: usize,
    /// Opened without hesitation.
    pub(crate) connections: usize,
    /// Opened when callers wait.
    pub(crate) max_connections: usize,
    /// Handshakes at once.
    pub(crate) handshakes: usize,
    /// From which round trip on a channel is opened before it is wanted.
    pub(crate) open_ahead_from: Option<Duration>,
}

/// The connections of one purpose to one sandbox.
#[derive(Clone)]
pub(crate) struct SlotPool {
    pool: Pool<SlotManager>,
    connections: Arc<Connections>,
    capacity: Arc<Capacity>,
    ahead: Arc<Ahead>,
    open_ahead_from: Option<Duration>,
}

/// A look at a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Live connections.
    pub connections: usize,
    /// Channels in use.
    pub busy: usize,
    /// Channels that are open and wait for a command.
    pub ahead: usize,
    /// Channels that a server allows on one connection, as far as is known.
    pub channels_per_connection: usize,
    /// Handshakes that were completed since the beginning.
    pub handshakes: u64,
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
        let capacity = Arc::new(Capacity::new(bounds));
        let open_ahead_from = bounds.open_ahead_from;
        Ok(Self {
            pool,
            connections,
            capacity,
            ahead: Arc::default(),
            open_ahead_from,
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
    fn try_checkout(&self) -> Option<Lease> {
        let turn = self.capacity.try_acquire()?;
        if self.pool.status().available == 0 && !self.connections.has_room() {
            return None;
        }
        let slot = self.pool.get().now_or_never()?.ok()?;
        Some(Lease::new(slot, turn))
    }

    /// Takes note that the server refused a channel on this slot's connection.
    pub(crate) fn refused(&self, lease: &Lease) {
        self.lower(lease.conn().facts.allowed());
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
        PoolStatus {
            ahead: self.ahead.count(),
            ..self.connections.status()
        }
    }
}

impl std::fmt::Debug for SlotPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotPool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// What deadpool asks.
pub(crate) struct SlotManager(Arc<Connections>);

type PooledSlot = Object<SlotManager>;

impl Manager for SlotManager {
    type Type = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot> {
        Connections::claim_or_dial(&self.0).await
    }

    async fn recycle(&self, slot: &mut Slot, _: &Metrics) -> RecycleResult<Error> {
        if slot.is_good() {
            Ok(())
        } else {
            Err(RecycleError::message(
                "its connection takes no more channels",
            ))
        }
    }
}

fn evicted() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "its connections were closed, for it was deleted or replaced",
        None,
    )
}
