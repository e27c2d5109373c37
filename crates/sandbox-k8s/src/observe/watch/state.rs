//! The state that the parts of a watch share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::observe::index::{Health, Index, Waiter};
use crate::observe::sweeper::Sweeper;

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
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
        let woken = change(&mut state.index);
        for waiter in woken {
            if let Some(waker) = state.wakers.get(&waiter) {
                waker.notify_one();
            }
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
