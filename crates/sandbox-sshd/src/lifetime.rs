//! Decides when the sandbox exits or is paused: never attached, idle, or expired.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sandbox_core::OnExpiry;
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
    /// `None` also while the sandbox is paused.
    soft_end: Option<Instant>,
    hard_end: Option<Instant>,
    on_expiry: OnExpiry,
    /// The last `ttl` that was set.
    full_ttl: Option<Duration>,
    pause: Option<PausedTtl>,
}

/// The `ttl` of a paused sandbox, which stands still.
#[derive(Debug, Clone, Copy)]
struct PausedTtl {
    left: Option<Duration>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The sandbox should end.
    End(EndReason),
    /// The sandbox should be paused, at the end of its `ttl`.
    Pause,
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
                on_expiry: config.on_expiry,
                full_ttl: config.ttl,
                pause: None,
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
    /// end. Returns how long the sandbox lives from now on. Of a paused sandbox, the time counts from when it is
    /// resumed.
    pub(crate) fn extend(&self, time: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(soft) = state.soft_end {
            // A time that cannot be represented means no soft end.
            let wanted = now.checked_add(time);
            if wanted.is_none_or(|wanted| wanted > soft) {
                state.soft_end = wanted;
                state.full_ttl = Some(time);
            }
        }
        if let Some(PausedTtl { left: Some(left) }) = &mut state.pause {
            *left = time.max(*left);
        }
        let end = state.first_end(now);
        drop(state);
        self.changed.notify_waiters();
        end.map_or(time, |end| end.saturating_duration_since(now))
    }

    /// Moves the soft end to `ttl` from now, also to an earlier time, but never past the hard end.
    /// Returns how long the sandbox lives from now on. Of a paused sandbox, the `ttl` counts from when it is resumed.
    pub(crate) fn start_ttl(&self, ttl: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        state.start_ttl(ttl, now);
        let end = state.first_end(now);
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
            state.start_ttl(ttl, now);
        }
        state.hard_end = earlier(state.hard_end, limits.max_lifetime.and_then(after));
        let end = state.first_end(now);
        drop(state);
        self.changed.notify_waiters();
        end.map(|end| end.saturating_duration_since(now))
    }

    /// Sets what happens at the end of the `ttl`.
    pub(crate) fn set_on_expiry(&self, on_expiry: OnExpiry) {
        self.state().on_expiry = on_expiry;
        self.changed.notify_waiters();
    }

    /// Lets the `ttl` and the idle timeout stand still.
    pub(crate) fn pause(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let left = state
            .soft_end
            .take()
            .map(|end| end.saturating_duration_since(now));
        state.pause.get_or_insert(PausedTtl { left });
        drop(state);
        self.changed.notify_waiters();
    }

    /// Starts `ttl`, or what was left of the former one; if nothing was, all of it again. The idle timeout starts
    /// anew.
    pub(crate) fn resume(&self, ttl: Option<Duration>) {
        let now = Instant::now();
        let mut state = self.state();
        let Some(PausedTtl { left }) = state.pause.take() else {
            return;
        };
        let left = left.map(|left| match left {
            Duration::ZERO => state.full_ttl.unwrap_or_default(),
            left => left,
        });
        if let Some(ttl) = ttl {
            state.start_ttl(ttl, now);
        } else {
            state.soft_end = left.and_then(|left| now.checked_add(left));
        }
        state.last_activity = now;
        drop(state);
        self.changed.notify_waiters();
    }

    /// Returns what is left of the `ttl`, if there is one.
    pub(crate) fn ttl_left(&self) -> Option<Duration> {
        let now = Instant::now();
        let state = self.state();
        match state.pause {
            Some(PausedTtl { left }) => left,
            None => state.soft_end.map(|end| end.saturating_duration_since(now)),
        }
    }

    /// Waits for so long. Time during which the sandbox is paused does not count.
    pub(crate) async fn sleep(&self, time: Duration) {
        let mut left = time;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let is_paused = self.state().pause.is_some();
            if is_paused {
                changed.await;
                continue;
            }
            let begun = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                () = changed => left = left.saturating_sub(begun.elapsed()),
            }
        }
    }

    /// Waits until the sandbox should end or be paused. The caller pauses it before it waits again.
    pub(crate) async fn wait_until_due(&self) -> Due {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some((at, due)) = self.next_due() else {
                changed.await;
                continue;
            };
            if at <= Instant::now() {
                return due;
            }
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = changed => {}
            }
        }
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let state = self.state();
        let idle = self.idle_timeout.filter(|_| {
            state.pause.is_none()
                && state.counts[Activity::Channel as usize] + state.counts[Activity::Job as usize]
                    == 0
        });
        let not_attached = state
            .attach_timeout
            .filter(|_| state.counts[Activity::Client as usize] == 0);
        let never_used = self.first_login_end.filter(|_| !state.was_used);
        let expired = match state.on_expiry {
            OnExpiry::End => Due::End(EndReason::Expired),
            OnExpiry::Pause => Due::Pause,
        };
        let ends = [
            state.hard_end.map(|at| (at, EndReason::Expired)),
            never_used.map(|at| (at, EndReason::NeverUsed)),
            not_attached.map(|timeout| (state.last_client + timeout, EndReason::NotAttached)),
            idle.map(|timeout| (state.last_activity + timeout, EndReason::Idle)),
        ];
        ends.into_iter()
            .flatten()
            .map(|(at, reason)| (at, Due::End(reason)))
            .chain(state.soft_end.map(|at| (at, expired)))
            .min_by_key(|(at, _)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The first of the ends at a fixed time, if a paused sandbox were resumed now.
    fn first_end(&self, now: Instant) -> Option<Instant> {
        let resumed = self.pause.and_then(|pause| now.checked_add(pause.left?));
        earlier(self.soft_end.or(resumed), self.hard_end)
    }

    fn start_ttl(&mut self, ttl: Duration, now: Instant) {
        self.full_ttl = Some(ttl);
        match &mut self.pause {
            Some(pause) => pause.left = Some(ttl),
            // A time that cannot be represented means no soft end.
            None => self.soft_end = now.checked_add(ttl),
        }
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
