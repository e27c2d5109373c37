//! What a pool's handles and tasks share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox_core::{Error, Uid, metrics};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::builder::PoolSettings;
use super::demand::Demand;
use super::pace::Pace;
use super::status::PoolStatus;
use super::waiting::{Check, Waiting};
use crate::create::builder::SandboxBuilder;
use crate::sync::lock;

pub(super) struct Shared {
    /// The sandboxes to create.
    pub(super) template: SandboxBuilder,
    pub(super) settings: PoolSettings,
    state: Mutex<State>,
    /// Wakes the filler.
    pub(super) wake: Notify,
    status: watch::Sender<PoolStatus>,
}

struct State {
    /// The oldest first.
    waiting: VecDeque<Waiting>,
    /// Takes that wait for a sandbox, the oldest first.
    requests: VecDeque<oneshot::Sender<Waiting>>,
    filling: usize,
    pace: Pace,
    hits: u64,
    misses: u64,
    demand: Demand,
    is_closed: bool,
}

impl Shared {
    pub(super) fn new(template: SandboxBuilder, settings: PoolSettings) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            requests: VecDeque::new(),
            filling: 0,
            pace: Pace::new(settings.concurrency),
            hits: 0,
            misses: 0,
            demand: Demand::default(),
            is_closed: false,
        };
        let status = PoolStatus {
            target: *settings.bounds.start(),
            ..PoolStatus::default()
        };
        Arc::new(Self {
            template,
            settings,
            state: Mutex::new(state),
            wake: Notify::new(),
            status: watch::Sender::new(status),
        })
    }

    pub(super) fn status(&self) -> PoolStatus {
        self.status.borrow().clone()
    }

    pub(super) fn changes(&self) -> watch::Receiver<PoolStatus> {
        self.status.subscribe()
    }

    /// Removes the sandbox that waited longest.
    pub(super) fn take_waiting(&self) -> Option<Waiting> {
        let taken = self.change(|state| state.waiting.pop_front());
        self.wake.notify_one();
        taken
    }

    /// Counts a take, and whether a waiting sandbox served it.
    pub(super) fn count_take(&self, is_hit: bool) {
        self.change(|state| {
            state.demand.record_take(Instant::now());
            if is_hit {
                state.hits += 1;
            } else {
                state.misses += 1;
                metrics::count_pool_miss();
            }
        });
        self.wake.notify_one();
    }

    /// Requests the next sandbox that is created. `None` if the pool is closed.
    pub(super) fn request(&self) -> Option<oneshot::Receiver<Waiting>> {
        let receiver = self.change(|state| {
            if state.is_closed {
                return None;
            }
            let (sender, receiver) = oneshot::channel();
            match state.waiting.pop_front() {
                // It was added after the take had found none. The receiver is there.
                Some(waiting) => drop(sender.send(waiting)),
                None => state.requests.push_back(sender),
            }
            Some(receiver)
        });
        self.wake.notify_one();
        receiver
    }

    /// Returns how many creations to start now, and counts them as started.
    pub(super) fn start_fills(&self) -> usize {
        self.change(|state| {
            let now = Instant::now();
            if state.is_closed {
                return 0;
            }
            state.requests.retain(|request| !request.is_closed());
            let wanted = state.demand.target(now, &self.settings.bounds) + state.requests.len();
            let missing = wanted.saturating_sub(state.waiting.len() + state.filling);
            let started = state.pace.startable(now, missing, state.filling);
            state.filling += started;
            started
        })
    }

    /// Adds a new sandbox. What is too much then is deleted: the take that it was created for may have been dropped.
    pub(super) fn add(&self, waiting: Waiting, creation: Duration) {
        let surplus = self.change(|state| {
            state.filling = state.filling.saturating_sub(1);
            state.demand.record_fill(creation);
            state.pace.record_success();
            let mut waiting = waiting;
            while let Some(request) = state.requests.pop_front() {
                match request.send(waiting) {
                    Ok(()) => return Vec::new(),
                    // That take was dropped.
                    Err(returned) => waiting = returned,
                }
            }
            if state.is_closed {
                return vec![waiting];
            }
            state.waiting.push_back(waiting);
            self.remove_outdated(state)
        });
        // Dropping a waiting sandbox deletes it in the background.
        drop(surplus);
        self.wake.notify_one();
    }

    /// Records that a creation failed.
    pub(super) fn record_failure(&self, error: &Error) {
        tracing::warn!(%error, "cannot create a sandbox for the pool; retrying");
        self.change(|state| {
            state.filling = state.filling.saturating_sub(1);
            state.pace.record_failure(error);
        });
        self.wake.notify_one();
    }

    /// Records that a sandbox cannot be started yet. It is held, and not counted as a failure.
    pub(super) fn record_held(&self, message: &str) {
        self.change(|state| state.pace.record_held(message));
    }

    /// Counts down a creation that was cancelled.
    pub(super) fn cancel_fill(&self) {
        self.change(|state| state.filling = state.filling.saturating_sub(1));
    }

    /// Returns the time before which no creation is started.
    pub(super) fn not_before(&self) -> Option<Instant> {
        lock(&self.state).pace.not_before()
    }

    /// Returns the checks of all waiting sandboxes.
    pub(super) fn checks(&self) -> Vec<Check> {
        lock(&self.state)
            .waiting
            .iter()
            .map(Waiting::check)
            .collect()
    }

    /// Removes the waiting sandboxes that are too old, or of which fewer are wanted.
    pub(super) fn remove_surplus(&self) -> Vec<Waiting> {
        let removed = self.change(|state| self.remove_outdated(state));
        self.wake.notify_one();
        removed
    }

    fn remove_outdated(&self, state: &mut State) -> Vec<Waiting> {
        let now = Instant::now();
        let target = state.demand.target(now, &self.settings.bounds);
        let mut removed = Vec::new();
        while state.waiting.front().is_some_and(|oldest| {
            state.waiting.len() > target || now.duration_since(oldest.since) > self.settings.max_age
        }) {
            removed.extend(state.waiting.pop_front());
        }
        removed
    }

    /// Removes a sandbox that has ended. `None` if it was taken meanwhile.
    pub(super) fn remove(&self, uid: &Uid) -> Option<Waiting> {
        let removed = self.change(|state| {
            let index = state
                .waiting
                .iter()
                .position(|waiting| waiting.uid() == uid)?;
            state.waiting.remove(index)
        });
        self.wake.notify_one();
        removed
    }

    /// Closes the pool, and returns what waits.
    pub(super) fn close(&self) -> VecDeque<Waiting> {
        let waiting = self.change(|state| {
            state.is_closed = true;
            // The filler cancels those in progress.
            state.filling = 0;
            state.requests.clear();
            std::mem::take(&mut state.waiting)
        });
        self.wake.notify_one();
        waiting
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Changes the state, and publishes the new one.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let result = change(&mut state);
        let target = state.demand.target(Instant::now(), &self.settings.bounds);
        let status = PoolStatus {
            waiting: state.waiting.len(),
            filling: state.filling,
            target,
            hits: state.hits,
            misses: state.misses,
            problem: state.pace.problem().cloned(),
            is_closed: state.is_closed,
        };
        // Published under the lock, so that the order of changes is kept.
        self.status.send_if_modified(|current| {
            let is_new = *current != status;
            *current = status;
            is_new
        });
        result
    }
}
