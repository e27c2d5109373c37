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
    attach_timeout: Option<Duration>,
    /// The time by which the first client has to log in.
    first_login_end: Option<Instant>,
    hard_end: Option<Instant>,
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
    soft_end: Option<Instant>,
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
            attach_timeout: config.attach_timeout,
            first_login_end: config.first_login_timeout.map(|timeout| now + timeout),
            hard_end,
            state: Mutex::new(State {
                counts: [0; 4],
                last_activity: now,
                last_client: now,
                was_used: false,
                soft_end: config.ttl.map(|ttl| now + ttl),
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
        let end = self.first_end(&state);
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
        let end = self.first_end(&state);
        drop(state);
        self.changed.notify_waiters();
        end.map_or(ttl, |end| end.saturating_duration_since(now))
    }

    fn first_end(&self, state: &State) -> Option<Instant> {
        match (state.soft_end, self.hard_end) {
            (Some(soft), Some(hard)) => Some(soft.min(hard)),
            (soft, hard) => soft.or(hard),
        }
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
        let not_attached = self
            .attach_timeout
            .filter(|_| state.counts[Activity::Client as usize] == 0);
        let never_used = self.first_login_end.filter(|_| !state.was_used);
        [
            state.soft_end.map(|at| (at, EndReason::Expired)),
            self.hard_end.map(|at| (at, EndReason::Expired)),
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
mod tests {
    use super::*;
    use sandbox_core::KeyPair;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> ServerConfig {
        ServerConfig::new(KeyPair::generate().unwrap().private, Vec::new(), "/")
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_ends_a_sandbox_without_limits() {
        let life = Lifetime::new(&config());
        assert!(
            tokio::time::timeout(SECOND * 1_000_000, life.wait_for_end())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_or_a_job_is_not_idle() {
        for kind in [Activity::Channel, Activity::Job] {
            let life = Lifetime::new(&config().with_idle_timeout(SECOND));
            let using = life.begin(kind);
            assert!(
                tokio::time::timeout(SECOND * 10, life.wait_for_end())
                    .await
                    .is_err()
            );
            drop(using);
            let start = Instant::now();
            assert_eq!(life.wait_for_end().await, EndReason::Idle);
            assert_eq!(start.elapsed().as_secs(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_reconnect_and_request_nothing_are_idle() {
        let life = Lifetime::new(&config().with_idle_timeout(SECOND * 10));
        let start = Instant::now();
        let reconnecting = async {
            loop {
                let client = life.begin(Activity::Client);
                tokio::time::sleep(SECOND * 3).await;
                drop(client);
            }
        };
        tokio::select! {
            end = life.wait_for_end() => assert_eq!(end, EndReason::Idle),
            () = reconnecting => {}
        }
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_channel_is_idle() {
        let life = Lifetime::new(&config().with_idle_timeout(SECOND * 10));
        let mut ready = life.begin(Activity::ReadyChannel);
        let start = Instant::now();
        assert_eq!(life.wait_for_end().await, EndReason::Idle);
        assert_eq!(start.elapsed().as_secs(), 10);
        ready.change_to(Activity::Channel);
        assert!(
            tokio::time::timeout(SECOND * 20, life.wait_for_end())
                .await
                .is_err()
        );
        ready.change_to(Activity::ReadyChannel);
        tokio::time::sleep(SECOND * 9).await;
        drop(ready);
        assert_eq!(life.wait_for_end().await, EndReason::Idle);
        assert_eq!(
            start.elapsed().as_secs(),
            40,
            "the end of a ready channel does not defer it either"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_sandbox_without_a_client_ends_although_a_job_runs() {
        let life = Lifetime::new(&config().with_attach_timeout(SECOND));
        let client = life.begin(Activity::Client);
        assert!(
            tokio::time::timeout(SECOND * 10, life.wait_for_end())
                .await
                .is_err()
        );
        drop(client);
        let _job = life.begin(Activity::Job);
        assert_eq!(life.wait_for_end().await, EndReason::NotAttached);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sandbox_that_no_client_has_ever_used_ends() {
        let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
        let start = Instant::now();
        assert_eq!(life.wait_for_end().await, EndReason::NeverUsed);
        assert_eq!(start.elapsed().as_secs(), 5);

        let life = Lifetime::new(&config().with_first_login_timeout(SECOND * 5));
        drop(life.begin(Activity::Client));
        assert!(
            tokio::time::timeout(SECOND * 60, life.wait_for_end())
                .await
                .is_err(),
            "one login is enough"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_extended_ttl_ends_at_the_hard_end() {
        let life = Lifetime::new(
            &config()
                .with_ttl(SECOND * 10)
                .with_max_lifetime(SECOND * 60),
        );
        assert_eq!(life.extend(SECOND * 5), SECOND * 10, "never shorter");
        assert_eq!(life.extend(SECOND * 30), SECOND * 30);
        assert_eq!(
            life.extend(Duration::MAX),
            SECOND * 60,
            "never past the hard end"
        );
        let start = Instant::now();
        assert_eq!(life.wait_for_end().await, EndReason::Expired);
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
