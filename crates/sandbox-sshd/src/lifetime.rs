//! Decides when the sandbox exits: never attached, idle, or expired.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sandbox_core::protocol::EndReason;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::ServerConfig;
use crate::lock::lock;

/// Counts the activities that keep a sandbox alive, and computes when it ends.
pub(crate) struct Lifetime {
    idle_timeout: Option<Duration>,
    /// The time by which the first client has to log in.
    first_login_end: Option<Instant>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    /// The number of activities of each kind.
    counts: [usize; 4],
    last_activity: Instant,
    last_client: Instant,
    /// Whether a client has ever logged in.
    was_used: bool,
    attach_timeout: Option<Duration>,
    soft_end: Option<Instant>,
    hard_end: Option<Instant>,
}

/// The limits that a claim sets anew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ClaimedLimits {
    /// `None` means detached.
    pub(crate) attach_timeout: Option<Duration>,
    /// From the claim. `None` leaves the soft end.
    pub(crate) ttl: Option<Duration>,
    /// From the claim. An earlier hard end stays.
    pub(crate) max_lifetime: Option<Duration>,
}

/// A kind of activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activity {
    /// An authenticated connection. It does not defer the idle timeout, because a handle stays
    /// connected only to keep its sandbox attached.
    Client = 0,
    /// A channel on which something was started.
    Channel = 1,
    Job = 2,
    /// A channel on which nothing was started yet. It does not defer the idle timeout, because a
    /// client may open channels before it needs them.
    ReadyChannel = 3,
}

impl Activity {
    /// Whether the sandbox is not idle during this activity.
    fn defers_idle_end(self) -> bool {
        matches!(self, Self::Channel | Self::Job)
    }
}

/// One activity, which ends when this is dropped.
pub(crate) struct ActivityGuard {
    lifetime: Arc<Lifetime>,
    kind: Activity,
}

impl Lifetime {
    pub(crate) fn new(config: &ServerConfig) -> Arc<Self> {
        let now = Instant::now();
        let hard_end = config.max_lifetime.map(|life| now + life);
        Arc::new(Self {
            idle_timeout: config.idle_timeout,
            first_login_end: config.first_login_timeout.map(|timeout| now + timeout),
            state: Mutex::new(State {
                counts: [0; 4],
                last_activity: now,
                last_client: now,
                was_used: false,
                attach_timeout: config.attach_timeout,
                soft_end: config.ttl.map(|ttl| now + ttl),
                hard_end,
            }),
            changed: Notify::new(),
        })
    }

    pub(crate) fn begin(self: &Arc<Self>, kind: Activity) -> ActivityGuard {
        let mut state = self.state();
        state.counts[kind as usize] += 1;
        if kind.defers_idle_end() {
            state.last_activity = Instant::now();
        }
        if kind == Activity::Client {
            state.was_used = true;
        }
        ActivityGuard {
            lifetime: Arc::clone(self),
            kind,
        }
    }

    /// Returns the number of current activities of a kind.
    pub(crate) fn count(&self, kind: Activity) -> usize {
        self.state().counts[kind as usize]
    }

    /// Restarts the idle timeout, because the client requested something.
    pub(crate) fn touch(&self) {
        self.state().last_activity = Instant::now();
    }

    /// Moves the soft end to `time` from now, but never to an earlier time and never past the hard
    /// end. Returns how long the sandbox lives from now on.
    pub(crate) fn extend(&self, time: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(soft) = state.soft_end {
            // A time that cannot be represented means no soft end.
            state.soft_end = now.checked_add(time).map(|wanted| wanted.max(soft));
        }
        let end = state.first_end();
        drop(state);
        self.changed.notify_waiters();
        end.map_or(time, |end| end.saturating_duration_since(now))
    }

    /// Moves the soft end to `ttl` from now, also to an earlier time, but never past the hard end.
    /// Returns how long the sandbox lives from now on.
    pub(crate) fn start_ttl(&self, ttl: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        // A time that cannot be represented means no soft end.
        state.soft_end = now.checked_add(ttl);
        let end = state.first_end();
        drop(state);
        self.changed.notify_waiters();
        end.map_or(ttl, |end| end.saturating_duration_since(now))
    }

    /// Sets the limits of a claim. Returns how long the sandbox lives from now on, if it ends at a
    /// fixed time.
    pub(crate) fn start_anew(&self, limits: ClaimedLimits) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.state();
        state.attach_timeout = limits.attach_timeout;
        // A time that cannot be represented means no end.
        let after = |time: Duration| now.checked_add(time);
        if let Some(ttl) = limits.ttl {
            state.soft_end = after(ttl);
        }
        state.hard_end = earlier(state.hard_end, limits.max_lifetime.and_then(after));
        let end = state.first_end();
        drop(state);
        self.changed.notify_waiters();
        end.map(|end| end.saturating_duration_since(now))
    }

    /// Waits until the sandbox should end.
    pub(crate) async fn wait_for_end(&self) -> EndReason {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some((at, reason)) = self.next_end() else {
                changed.await;
                continue;
            };
            if at <= Instant::now() {
                return reason;
            }
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = changed => {}
            }
        }
    }

    fn next_end(&self) -> Option<(Instant, EndReason)> {
        let state = self.state();
        let idle = self.idle_timeout.filter(|_| {
            state.counts[Activity::Channel as usize] + state.counts[Activity::Job as usize] == 0
        });
        let not_attached = state
            .attach_timeout
            .filter(|_| state.counts[Activity::Client as usize] == 0);
        let never_used = self.first_login_end.filter(|_| !state.was_used);
        [
            state.soft_end.map(|at| (at, EndReason::Expired)),
            state.hard_end.map(|at| (at, EndReason::Expired)),
            never_used.map(|at| (at, EndReason::NeverUsed)),
            not_attached.map(|timeout| (state.last_client + timeout, EndReason::NotAttached)),
            idle.map(|timeout| (state.last_activity + timeout, EndReason::Idle)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The first of the ends at a fixed time.
    fn first_end(&self) -> Option<Instant> {
        earlier(self.soft_end, self.hard_end)
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

impl ActivityGuard {
    /// Changes the kind of the activity.
    pub(crate) fn change_to(&mut self, kind: Activity) {
        let mut state = self.lifetime.state();
        state.counts[self.kind as usize] -= 1;
        state.counts[kind as usize] += 1;
        state.last_activity = Instant::now();
        self.kind = kind;
    }
}

impl Drop for ActivityGuard {
    fn drop(&mut self) {
        let mut state = self.lifetime.state();
        state.counts[self.kind as usize] -= 1;
        if self.kind.defers_idle_end() {
            state.last_activity = Instant::now();
        }
        if self.kind == Activity::Client {
            state.last_client = Instant::now();
        }
        drop(state);
        self.lifetime.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
