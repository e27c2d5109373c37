//! The connections under a pool: which there are, how many channels each has, new ones.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandbox_core::{ConnectionStage, Deadline, Error, Result, SandboxId};
use tokio::sync::Semaphore;

use super::dialer::Dialer;
use super::permits::Bounds;
use crate::connection::Conn;
use crate::options::SshOptions;

/// A write that the peer has not taken for so long means that it is gone or stuck.
const WRITE_STALL: Duration = Duration::from_secs(120);
/// Attempts to reach a server that has answered before: some, for it may let in few at once.
const ATTEMPTS: u32 = 8;

/// A look at a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Live connections.
    pub connections: usize,
    /// Channels in use.
    pub busy: usize,
    /// Channels that are open and wait for a command.
    pub prewarmed: usize,
    /// Channels that a server allows on one connection, as far as is known.
    pub channels_per_connection: usize,
    /// Handshakes that were completed since the beginning.
    pub handshakes: u64,
}

pub(crate) struct Connections {
    dialer: Dialer,
    bounds: Bounds,
    dialing: Semaphore,
    state: Mutex<State>,
    /// Gives a connection that it has not used yet.
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
    conn: Arc<Conn>,
    /// Slots that exist for it, in use or not.
    slots: usize,
}

/// The right to have one channel open on a connection.
pub(crate) struct Slot {
    conn: Arc<Conn>,
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

    /// Makes sure that there is a connection.
    pub(super) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        if self.has_usable() {
            return Ok(());
        }
        let _turn = deadline
            .bound("waiting for another handshake", self.turn())
            .await?;
        if self.has_usable() {
            return Ok(());
        }
        self.dial(deadline, u32::MAX).await
    }

    /// A slot on a connection with room, or on a new one.
    pub(super) async fn claim_or_dial(home: &Arc<Self>) -> Result<Slot> {
        if let Some(slot) = Self::claim(home)? {
            return Ok(slot);
        }
        let _turn = home.turn().await?;
        loop {
            // Whoever dialled meanwhile may have left room.
            if let Some(slot) = Self::claim(home)? {
                return Ok(slot);
            }
            match home.donor.as_ref().and_then(|donor| donor.take_unused()) {
                Some(conn) => home.add(conn)?,
                None => {
                    home.dial(Deadline::from_now(home.dialer.attempt_limit()), ATTEMPTS)
                        .await?
                }
            }
        }
    }

    fn claim(home: &Arc<Self>) -> Result<Option<Slot>> {
        let mut state = home.state();
        if state.closed {
            return Err(evicted());
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

    /// Whether a connection that is there can have one more slot.
    pub(super) fn has_room(&self) -> bool {
        let state = self.state();
        state
            .entries
            .iter()
            .any(|entry| entry.conn.is_usable() && entry.slots < state.limit)
    }

    async fn turn(&self) -> Result<tokio::sync::SemaphorePermit<'_>> {
        self.dialing.acquire().await.map_err(|_closed| evicted())
    }

    async fn dial(&self, deadline: Deadline, attempts: u32) -> Result<()> {
        let conn = self.dialer.dial(deadline, attempts).await?;
        self.state().handshakes += 1;
        self.add(Arc::new(conn))
    }

    fn add(&self, conn: Arc<Conn>) -> Result<()> {
        let mut state = self.state();
        if state.closed {
            conn.kill();
            return Err(evicted());
        }
        state.limit = state.limit.min(conn.safe_channels());
        state.entries.push(Entry { conn, slots: 0 });
        Ok(())
    }

    /// A connection that was made and that nobody has used.
    fn take_unused(&self) -> Option<Arc<Conn>> {
        let mut state = self.state();
        let unused = |entry: &Entry| entry.slots == 0 && entry.conn.is_usable();
        let at = state.entries.iter().position(unused)?;
        Some(state.entries.swap_remove(at).conn)
    }

    fn has_usable(&self) -> bool {
        self.state()
            .entries
            .iter()
            .any(|entry| entry.conn.is_usable())
    }

    /// Lowers how many channels a connection may have; the limit that holds now.
    pub(super) fn lower_limit(&self, allowed: usize) -> usize {
        let mut state = self.state();
        state.limit = state.limit.min(allowed.max(1));
        state.limit
    }

    /// Lets connections take no more channels that are too old, too used, or idle.
    pub(super) fn retire(&self, options: &SshOptions) {
        for Entry { conn, .. } in &self.state().entries {
            if conn.write_stall() > WRITE_STALL {
                tracing::debug!(ssh.purpose = ?self.dialer.purpose(), "the peer takes no data; giving the connection up");
                conn.kill();
            } else if conn.created.elapsed() > options.max_lifetime
                || conn.opened() >= options.max_channels
                || conn.idle().is_some_and(|idle| idle > options.idle_timeout)
            {
                conn.retire();
            }
        }
    }

    /// Takes out the connections that nothing holds any more.
    pub(super) fn sweep(&self) -> Vec<Arc<Conn>> {
        let mut state = self.state();
        let gone = |entry: &mut Entry| {
            !entry.conn.is_usable() && (entry.slots == 0 || entry.conn.is_dead())
        };
        state
            .entries
            .extract_if(.., gone)
            .map(|entry| entry.conn)
            .collect()
    }

    pub(super) fn close(&self) {
        self.dialing.close();
        let entries = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.entries)
        };
        for entry in entries {
            entry.conn.kill();
        }
    }

    pub(super) fn status(&self) -> PoolStatus {
        let state = self.state();
        let live = state.entries.iter().filter(|entry| !entry.conn.is_dead());
        PoolStatus {
            connections: live.clone().count(),
            busy: live.map(|entry| entry.conn.busy()).sum(),
            prewarmed: 0,
            channels_per_connection: state.limit.min(self.bounds.channels_per_connection),
            handshakes: state.handshakes,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }

    /// Whether its connection never has another channel meanwhile.
    pub(super) fn is_exclusive(&self) -> bool {
        self.home.bounds.channels_per_connection == 1
    }

    /// Whether it may be used once more.
    pub(super) fn is_good(&self) -> bool {
        let state = self.home.state();
        let fits =
            |entry: &Entry| Arc::ptr_eq(&entry.conn, &self.conn) && entry.slots <= state.limit;
        self.conn.is_usable() && state.entries.iter().any(fits)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.home.state();
        if let Some(entry) = state
            .entries
            .iter_mut()
            .find(|entry| Arc::ptr_eq(&entry.conn, &self.conn))
        {
            entry.slots -= 1;
        }
    }
}

pub(super) fn evicted() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "its connections were closed, for it was deleted or replaced",
        None,
    )
}
