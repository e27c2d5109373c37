//! Limits how many channels are in use at once, first come first served.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a caller waits for a permit before one more connection is allowed.
const GROWTH_DELAY: Duration = Duration::from_millis(250);

/// How many channels and connections a pool may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) channels_per_connection: usize,
    /// Opened before any caller has to wait.
    pub(crate) connections: usize,
    /// The most connections, including those that are opened when callers wait.
    pub(crate) max_connections: usize,
    /// The most handshakes at once.
    pub(crate) handshakes: usize,
}

#[derive(Debug)]
pub(super) struct Permits {
    semaphore: Arc<Semaphore>,
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Connections that are allowed now.
    connections: usize,
    /// Channels that are allowed on each of them.
    channels: usize,
    /// Permits to forget when they are returned.
    permits_to_forget: usize,
}

/// The right to use one slot.
#[derive(Debug)]
pub(super) struct SlotPermit {
    permit: Option<OwnedSemaphorePermit>,
    permits: Arc<Permits>,
}

impl Permits {
    pub(super) fn new(bounds: Bounds) -> Self {
        let connections = bounds.connections.max(1);
        let channels = bounds.channels_per_connection.max(1);
        Self {
            semaphore: Arc::new(Semaphore::new(connections * channels)),
            bounds,
            state: Mutex::new(State {
                connections,
                channels,
                permits_to_forget: 0,
            }),
        }
    }

    /// Waits for a permit; `None` if closed.
    pub(super) async fn acquire(self: &Arc<Self>) -> Option<SlotPermit> {
        let permit = Arc::clone(&self.semaphore).acquire_owned();
        tokio::pin!(permit);
        loop {
            match tokio::time::timeout(GROWTH_DELAY, permit.as_mut()).await {
                Ok(permit) => {
                    return Some(SlotPermit {
                        permit: Some(permit.ok()?),
                        permits: Arc::clone(self),
                    });
                }
                Err(_elapsed) => self.grow(),
            }
        }
    }

    /// Takes a permit if one is free at once, and only while more than half of all are free.
    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<SlotPermit> {
        let state = self.lock();
        if 2 * self.semaphore.available_permits() <= state.connections * state.channels {
            return None;
        }
        drop(state);
        let permit = Arc::clone(&self.semaphore).try_acquire_owned().ok()?;
        Some(SlotPermit {
            permit: Some(permit),
            permits: Arc::clone(self),
        })
    }

    /// Whether no permit is free, and no more connections are allowed.
    pub(super) fn is_exhausted(&self) -> bool {
        self.semaphore.available_permits() == 0
            && self.lock().connections >= self.bounds.max_connections
    }

    /// Allows one more connection.
    fn grow(&self) {
        let mut state = self.lock();
        if state.connections < self.bounds.max_connections {
            state.connections += 1;
            let remaining = state.permits_to_forget.min(state.channels);
            state.permits_to_forget -= remaining;
            self.semaphore.add_permits(state.channels - remaining);
        }
    }

    /// Allows no more connections than at the start.
    pub(super) fn shrink(&self) {
        let mut state = self.lock();
        let surplus = state
            .connections
            .saturating_sub(self.bounds.connections.max(1));
        state.connections -= surplus;
        let permits = surplus * state.channels;
        self.withdraw(&mut state, permits);
    }

    /// Allows this many channels on each connection.
    pub(super) fn lower(&self, channels: usize) {
        let mut state = self.lock();
        if channels < state.channels {
            let permits = (state.channels - channels) * state.connections;
            state.channels = channels;
            self.withdraw(&mut state, permits);
        }
    }

    pub(super) fn close(&self) {
        self.semaphore.close();
    }

    /// Removes permits, at once or when they are returned.
    fn withdraw(&self, state: &mut State, permits: usize) {
        state.permits_to_forget += permits - self.semaphore.forget_permits(permits);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SlotPermit {
    fn drop(&mut self) {
        let mut state = self.permits.lock();
        if state.permits_to_forget > 0
            && let Some(permit) = self.permit.take()
        {
            state.permits_to_forget -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_permits(channels: usize, connections: usize, max: usize) -> Arc<Permits> {
        Arc::new(Permits::new(Bounds {
            channels_per_connection: channels,
            connections,
            max_connections: max,
            handshakes: 1,
        }))
    }

    #[tokio::test]
    async fn permits_that_are_withdrawn_while_in_use_do_not_return() {
        let permits = new_permits(5, 2, 2);
        let mut taken = Vec::new();
        for _ in 0..10 {
            taken.push(permits.acquire().await.unwrap());
        }
        permits.lower(1);
        permits.lower(3);
        taken.clear();
        assert_eq!(permits.semaphore.available_permits(), 2);
        assert_eq!(permits.lock().permits_to_forget, 0);
    }

    #[tokio::test]
    async fn waiting_callers_get_another_connection_until_it_is_idle() {
        let permits = new_permits(1, 1, 2);
        let first = permits.acquire().await.unwrap();
        assert!(!permits.is_exhausted(), "one more connection is allowed");
        let second = permits.acquire().await.unwrap();
        assert!(permits.is_exhausted());
        permits.grow();
        assert_eq!(
            permits.semaphore.available_permits(),
            0,
            "all permits are in use"
        );
        drop((first, second));
        permits.shrink();
        assert_eq!(permits.semaphore.available_permits(), 1);
        permits.close();
        assert!(permits.acquire().await.is_none());
    }
}
