//! The state that the parts of a watch share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::observe::index::{Health, Index, Waiter};
use crate::observe::sweeper::Sweeper;

pub(super) struct Shared {
    state: Mutex<State>,
    /// Counts the states of the shared pools, from 1.
    pub(super) pool_states: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            pool_states: watch::Sender::new(1),
        }
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) wakers: HashMap<Waiter, Arc<Notify>>,
    pub(super) sweeper: Sweeper,
    /// When the watch last delivered an event about any sandbox.
    pub(super) last_event_at: Option<Instant>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, and wakes the waiters that the change concerns.
    pub(super) fn update(&self, change: impl FnOnce(&mut Index) -> Vec<Waiter>) {
        let mut state = self.lock();
        let before = state.index.health().clone();
        let pool_changes = state.index.pool_changes();
        let woken = change(&mut state.index);
        for waiter in woken {
            if let Some(waker) = state.wakers.get(&waiter) {
                waker.notify_one();
            }
        }
        // While there is no watch, the members are listed, which shows others than the index.
        let is_live = |health: &Health| *health == Health::Live;
        if state.index.pool_changes() != pool_changes
            || is_live(&before) != is_live(state.index.health())
        {
            self.pool_states.send_modify(|number| *number += 1);
        }
        match (before, state.index.health()) {
            (Health::Degraded(_), Health::Degraded(_)) => {}
            (_, Health::Degraded(why)) => {
                tracing::warn!(%why, "watch unavailable; falling back to one request per sandbox");
            }
            (Health::Degraded(_), _) => tracing::info!("watch restored"),
            _ => {}
        }
    }
}

/// Returns the time by tokio's clock, which tests can pause.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
