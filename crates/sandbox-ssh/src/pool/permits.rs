//! How many channels may be in use at once, first come first served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a caller waits for a channel before one more connection is allowed.
const PATIENCE: Duration = Duration::from_millis(250);

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
}

#[derive(Debug)]
pub(super) struct Permits {
    turns: Arc<Semaphore>,
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Connections that count.
    connections: usize,
    /// Channels that each of them allows.
    channels: usize,
    /// Turns to take out of circulation when they come back.
    debt: usize,
}

/// The right to use one slot.
#[derive(Debug)]
pub(super) struct SlotPermit {
    permit: Option<OwnedSemaphorePermit>,
    capacity: Arc<Permits>,
}

impl Permits {
    pub(super) fn new(bounds: Bounds) -> Self {
        let (connections, channels) = (
            bounds.connections.max(1),
            bounds.channels_per_connection.max(1),
        );
        Self {
            turns: Arc::new(Semaphore::new(connections * channels)),
            bounds,
            state: Mutex::new(State {
                connections,
                channels,
                debt: 0,
            }),
        }
    }

    /// Waits for a turn; `None` when closed.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<SlotPermit> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        tokio::pin!(turn);
        loop {
            match tokio::time::timeout(PATIENCE, turn.as_mut()).await {
                Ok(permit) => {
                    return Some(SlotPermit {
                        permit: Some(permit.ok()?),
                        capacity: Arc::clone(self),
                    });
                }
                Err(_elapsed) => self.grow(),
            }
        }
    }

    /// A turn that can be had at once, and only while more than half of all can.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<SlotPermit> {
        let state = self.state();
        if 2 * self.turns.available_permits() <= state.connections * state.channels {
            return None;
        }
        drop(state);
        let permit = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some(SlotPermit {
            permit: Some(permit),
            capacity: Arc::clone(self),
        })
    }

    /// Allows one more connection.
    fn grow(&self) {
        let mut state = self.state();
        if state.connections < self.bounds.max_connections {
            state.connections += 1;
            let forgiven = state.debt.min(state.channels);
            state.debt -= forgiven;
            self.turns.add_permits(state.channels - forgiven);
        }
    }

    /// Allows no more connections than in the beginning.
    pub(super) fn shrink(&self) {
        let mut state = self.state();
        let surplus = state
            .connections
            .saturating_sub(self.bounds.connections.max(1));
        state.connections -= surplus;
        let turns = surplus * state.channels;
        self.withdraw(&mut state, turns);
    }

    /// Allows this many channels on each connection.
    pub(super) fn lower(&self, channels: usize) {
        let mut state = self.state();
        if channels < state.channels {
            let turns = (state.channels - channels) * state.connections;
            state.channels = channels;
            self.withdraw(&mut state, turns);
        }
    }

    pub(super) fn close(&self) {
        self.turns.close();
    }

    fn withdraw(&self, state: &mut State, turns: usize) {
        state.debt += turns - self.turns.forget_permits(turns);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let mut state = self.capacity.state();
        if state.debt > 0
            && let Some(permit) = self.permit.take()
        {
            state.debt -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(channels: usize, connections: usize, max: usize) -> Arc<Permits> {
        Arc::new(Permits::new(Bounds {
            channels_per_connection: channels,
            connections,
            max_connections: max,
            handshakes: 1,
        }))
    }

    #[tokio::test]
    async fn what_is_withdrawn_while_in_use_does_not_come_back() {
        let capacity = capacity(5, 2, 2);
        let mut turns = Vec::new();
        for _ in 0..10 {
            turns.push(capacity.acquire().await.unwrap());
        }
        capacity.lower(1);
        capacity.lower(3);
        turns.clear();
        assert_eq!(capacity.turns.available_permits(), 2);
        assert_eq!(capacity.state().debt, 0);
    }

    #[tokio::test]
    async fn those_who_wait_get_another_connection_which_is_given_back() {
        let capacity = capacity(1, 1, 2);
        let first = capacity.acquire().await.unwrap();
        let second = capacity.acquire().await.unwrap();
        capacity.grow();
        assert_eq!(
            capacity.turns.available_permits(),
            0,
            "the most there may be are in use"
        );
        drop((first, second));
        capacity.shrink();
        assert_eq!(capacity.turns.available_permits(), 1);
        capacity.close();
        assert!(capacity.acquire().await.is_none());
    }
}
