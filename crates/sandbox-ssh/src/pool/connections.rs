//! The connections under a pool, and the slots on each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandbox_core::{ConnectionStage, Deadline, Error, Result, SandboxId};
use tokio::sync::Semaphore;

use super::dialer::Dialer;
use super::permits::Bounds;
use crate::connection::Connection;
use crate::options::SshOptions;

/// If the peer accepts no data for this long, it has vanished or hangs.
const MAX_WRITE_STALL: Duration = Duration::from_secs(120);
/// Attempts to reach a server that has answered before. There are several because it may limit the
/// connections that are not logged in yet.
const RECONNECT_ATTEMPTS: u32 = 8;

/// A snapshot of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Live connections.
    pub connections: usize,
    /// Channels in use.
    pub busy: usize,
    /// Channels that are prewarmed or being opened for that.
    pub prewarmed: usize,
    /// Channels that the server allows on one connection, as far as is known.
    pub channels_per_connection: usize,
    /// Handshakes that were completed since the pool was created.
    pub handshakes: u64,
}

pub(crate) struct Connections {
    dialer: Dialer,
    bounds: Bounds,
    dialing: Semaphore,
    state: Mutex<State>,
    /// The pool whose unused connections may be taken over.
    donor: Option<Arc<Self>>,
}

struct State {
    entries: Vec<Entry>,
    /// Channels allowed on each connection.
    limit: usize,
    handshakes: u64,
    closed: bool,
}

struct Entry {
    conn: Arc<Connection>,
    /// Slots of this connection, in use or not.
    slots: usize,
}

/// Room for one channel on a connection.
pub(crate) struct Slot {
    conn: Arc<Connection>,
    home: Arc<Connections>,
}

impl Connections {
    pub(super) fn new(dialer: Dialer, bounds: Bounds, donor: Option<Arc<Self>>) -> Self {
        let limit = bounds.channels_per_connection.max(1);
        let state = State {
            entries: Vec::new(),
            limit,
            handshakes: 0,
            closed: false,
        };
        Self {
            dialer,
            bounds,
            dialing: Semaphore::new(bounds.handshakes.max(1)),
            state: Mutex::new(state),
            donor,
        }
    }

    pub(super) fn sandbox(&self) -> SandboxId {
        self.dialer.access().id.clone()
    }

    /// Whether the server is sandbox-sshd; `None` without a connection.
    pub(super) fn is_sandbox_sshd(&self) -> Option<bool> {
        let state = self.lock();
        state
            .entries
            .first()
            .map(|entry| entry.conn.is_sandbox_sshd())
    }

    /// Makes sure that there is a usable connection.
    pub(super) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        if self.has_usable() {
            return Ok(());
        }
        let _one_at_a_time = deadline
            .bound("waiting for another handshake", self.wait_to_dial())
            .await?;
        if self.has_usable() {
            return Ok(());
        }
        self.dial(deadline, u32::MAX).await
    }

    /// Claims a slot on a connection with room, or on a new one.
    pub(super) async fn claim_or_dial(home: &Arc<Self>) -> Result<Slot> {
        if let Some(slot) = Self::claim(home)? {
            return Ok(slot);
        }
        let _one_at_a_time = home.wait_to_dial().await?;
        loop {
            // Another caller may have dialled meanwhile, and left room.
            if let Some(slot) = Self::claim(home)? {
                return Ok(slot);
            }
            match home.donor.as_ref().and_then(|donor| donor.take_unused()) {
                Some(conn) => home.add(conn)?,
                None => {
                    home.dial(
                        Deadline::from_now(home.dialer.attempt_limit()),
                        RECONNECT_ATTEMPTS,
                    )
                    .await?
                }
            }
        }
    }

    /// Claims a slot on the usable connection with the fewest slots, if one has room.
    fn claim(home: &Arc<Self>) -> Result<Option<Slot>> {
        let mut state = home.lock();
        if state.closed {
            return Err(eviction_error());
        }
        let limit = state.limit;
        let room = |entry: &&mut Entry| entry.conn.is_usable() && entry.slots < limit;
        Ok(state
            .entries
            .iter_mut()
            .filter(room)
            .min_by_key(|entry| entry.slots)
            .map(|entry| {
                entry.slots += 1;
                Slot {
                    conn: Arc::clone(&entry.conn),
                    home: Arc::clone(home),
                }
            }))
    }

    /// Whether an existing connection can have one more slot.
    pub(super) fn has_room(&self) -> bool {
        let state = self.lock();
        state
            .entries
            .iter()
            .any(|entry| entry.conn.is_usable() && entry.slots < state.limit)
    }

    async fn wait_to_dial(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.dialing
            .acquire()
            .await
            .map_err(|_closed| eviction_error())
    }

    async fn dial(&self, deadline: Deadline, attempts: u32) -> Result<()> {
        // The future of a handshake is large, and part of nearly every operation, each of which would copy it on its stack.
        let conn = Box::pin(self.dialer.dial(deadline, attempts)).await?;
        self.lock().handshakes += 1;
        self.add(Arc::new(conn))
    }

    fn add(&self, conn: Arc<Connection>) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            conn.kill();
            return Err(eviction_error());
        }
        state.limit = state.limit.min(conn.safe_channels());
        state.entries.push(Entry { conn, slots: 0 });
        Ok(())
    }

    /// Removes a connection without slots, for another pool.
    fn take_unused(&self) -> Option<Arc<Connection>> {
        let mut state = self.lock();
        let unused = |entry: &Entry| entry.slots == 0 && entry.conn.is_usable();
        let at = state.entries.iter().position(unused)?;
        Some(state.entries.swap_remove(at).conn)
    }

    fn has_usable(&self) -> bool {
        self.lock()
            .entries
            .iter()
            .any(|entry| entry.conn.is_usable())
    }

    /// Lowers the limit of channels on one connection. Returns the limit that is in effect.
    pub(super) fn lower_limit(&self, allowed: usize) -> usize {
        let mut state = self.lock();
        state.limit = state.limit.min(allowed.max(1));
        state.limit
    }

    /// Retires connections that are too old, have had too many channels, or are idle.
    pub(super) fn retire(&self, options: &SshOptions) {
        for Entry { conn, .. } in &self.lock().entries {
            if conn.write_stall() > MAX_WRITE_STALL {
                tracing::debug!(ssh.purpose = ?self.dialer.purpose(), "connection given up: peer accepts no data");
                conn.kill();
            } else if conn.created.elapsed() > options.max_lifetime
                || conn.opened_channels() >= options.max_channels
                || conn
                    .idle_time()
                    .is_some_and(|idle| idle > options.idle_timeout)
            {
                conn.retire();
            }
        }
    }

    /// Removes the retired connections without slots, and the dead ones.
    pub(super) fn sweep(&self) -> Vec<Arc<Connection>> {
        let mut state = self.lock();
        let is_removable = |entry: &mut Entry| {
            !entry.conn.is_usable() && (entry.slots == 0 || entry.conn.is_dead())
        };
        state
            .entries
            .extract_if(.., is_removable)
            .map(|entry| entry.conn)
            .collect()
    }

    pub(super) fn close(&self) {
        self.dialing.close();
        let entries = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        for entry in entries {
            entry.conn.kill();
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let state = self.lock();
        let live = state.entries.iter().filter(|entry| !entry.conn.is_dead());
        PoolStatus {
            connections: live.clone().count(),
            busy: live.map(|entry| entry.conn.busy_slots()).sum(),
            prewarmed: 0,
            channels_per_connection: state.limit.min(self.bounds.channels_per_connection),
            handshakes: state.handshakes,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub(crate) fn conn(&self) -> &Arc<Connection> {
        &self.conn
    }

    /// Whether its connection never has another slot.
    pub(super) fn is_exclusive(&self) -> bool {
        self.home.bounds.channels_per_connection == 1
    }

    /// Whether the slot may be used for another channel.
    pub(super) fn is_usable(&self) -> bool {
        let state = self.home.lock();
        let fits =
            |entry: &Entry| Arc::ptr_eq(&entry.conn, &self.conn) && entry.slots <= state.limit;
        self.conn.is_usable() && state.entries.iter().any(fits)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.home.lock();
        if let Some(entry) = state
            .entries
            .iter_mut()
            .find(|entry| Arc::ptr_eq(&entry.conn, &self.conn))
        {
            entry.slots -= 1;
        }
    }
}

pub(super) fn eviction_error() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "its connections were closed, because it was deleted or replaced",
        None,
    )
}
