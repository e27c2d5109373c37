//! A slot in use.

use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use sandbox_core::{Error, Result, metrics};

use super::connections::{Connections, Slot};
use super::permits::SlotPermit;
use crate::connection::Connection;

/// A slot in use. It returns to the pool when dropped, unless its connection takes no more channels.
pub(crate) struct SlotInUse {
    conn: Arc<Connection>,
    slot: Option<PooledSlot>,
    // Dropped after the slot, so that the next caller finds the slot.
    _permit: SlotPermit,
    /// `None` while its use is paused.
    used: Option<metrics::ChannelInUse>,
}

impl SlotInUse {
    pub(super) fn new(slot: PooledSlot, permit: SlotPermit) -> Self {
        let conn = Arc::clone(slot.conn());
        conn.begin_use();
        Self {
            conn,
            slot: Some(slot),
            used: Some(metrics::ChannelInUse::new()),
            _permit: permit,
        }
    }

    /// Returns whether the connection is limited to this slot.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_exclusive())
    }

    /// Counts the connection as idle until [`resume`](Self::resume).
    pub(crate) fn pause(&mut self) {
        if self.used.take().is_some() {
            self.conn.end_use();
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub(crate) fn resume(&mut self) {
        if self.used.is_none() {
            self.used = Some(metrics::ChannelInUse::new());
            self.conn.begin_use();
        }
    }

    pub(crate) fn conn(&self) -> &Arc<Connection> {
        &self.conn
    }
}

impl Drop for SlotInUse {
    fn drop(&mut self) {
        self.pause();
        if let Some(slot) = self.slot.take()
            && !slot.is_usable()
        {
            drop(Object::take(slot));
        }
    }
}

impl std::fmt::Debug for SlotInUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SlotInUse").field(&self.conn).finish()
    }
}

/// Creates and checks slots for deadpool.
pub(crate) struct SlotManager(pub(super) Arc<Connections>);

pub(super) type PooledSlot = Object<SlotManager>;

impl Manager for SlotManager {
    type Type = Slot;
    type Error = Error;

    async fn create(&self) -> Result<Slot> {
        Connections::claim_or_dial(&self.0).await
    }

    async fn recycle(&self, slot: &mut Slot, _: &Metrics) -> RecycleResult<Error> {
        if slot.is_usable() {
            Ok(())
        } else {
            Err(RecycleError::message(
                "its connection takes no more channels",
            ))
        }
    }
}
