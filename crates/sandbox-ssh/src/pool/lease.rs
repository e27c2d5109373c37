//! A slot in use.

use std::sync::Arc;

use deadpool::managed::{Manager, Metrics, Object, RecycleError, RecycleResult};
use sandbox_core::{Error, Result, metrics};

use super::connections::{Connections, Slot};
use super::permits::SlotPermit;
use crate::connection::Conn;

/// A slot that somebody uses. It goes back to the pool when dropped, unless its connection
/// takes no more channels.
pub(crate) struct Lease {
    conn: Arc<Conn>,
    slot: Option<PooledSlot>,
    /// After the slot, so that whoever is next finds it.
    _turn: SlotPermit,
    /// `None` while it is kept and nothing is done with it.
    used: Option<metrics::ChannelInUse>,
}

impl Lease {
    pub(super) fn new(slot: PooledSlot, turn: SlotPermit) -> Self {
        let conn = Arc::clone(slot.conn());
        conn.begin_use();
        Self {
            conn,
            slot: Some(slot),
            used: Some(metrics::ChannelInUse::new()),
            _turn: turn,
        }
    }

    /// Whether nobody else uses the connection.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.slot.as_ref().is_some_and(|slot| slot.is_exclusive())
    }

    /// It is kept, and nothing is done with it.
    pub(crate) fn pause(&mut self) {
        if self.used.take().is_some() {
            self.conn.end_use();
        }
    }

    /// It is used again.
    pub(crate) fn resume(&mut self) {
        if self.used.is_none() {
            self.used = Some(metrics::ChannelInUse::new());
            self.conn.begin_use();
        }
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pause();
        if let Some(slot) = self.slot.take()
            && !slot.is_good()
        {
            drop(Object::take(slot));
        }
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lease").field(&self.conn).finish()
    }
}

/// What deadpool asks.
pub(crate) struct SlotManager(pub(super) Arc<Connections>);

pub(super) type PooledSlot = Object<SlotManager>;

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
