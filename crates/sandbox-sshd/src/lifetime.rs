//! When the sandbox ends by itself: nobody came, nothing happened, its time is up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::ServerConfig;

/// Why a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// No channel, job or request for the idle limit.
    Idle,
    /// No authenticated connection for the attach limit.
    Unattended,
    /// Its time to live, or its longest life, is over.
    Expired,
    /// It was told to end.
    Terminated,
}

/// Counts what keeps a sandbox alive, and knows when that is too little.
pub(crate) struct Lifetime {
    idle_limit: Option<Duration>,
    attach_limit: Option<Duration>,
    hard_end: Option<Instant>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    uses: [usize; 4],
    last_use: Instant,
    last_client: Instant,
    soft_end: Option<Instant>,
}

/// What is being counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Somebody is connected. That alone is no use, nor is coming and going: a handle keeps its sandbox attached so.
    Client = 0,
    Channel = 1,
    Job = 2,
    /// A channel on which nothing was started yet: a client may keep one ready, and that is no use.
    Ready = 3,
}

impl Use {
    /// Whether it puts off the end of an idle sandbox.
    fn is_use(self) -> bool {
        matches!(self, Self::Channel | Self::Job)
    }
}

/// One use; over when dropped.
pub(crate) struct InUse {
    lifetime: Arc<Lifetime>,
    kind: Use,
}

impl Lifetime {
    pub(crate) fn new(config: &ServerConfig) -> Arc<Self> {
        let now = Instant::now();
        let hard_end = config.max_lifetime.map(|life| now + life);
        Arc::new(Self {
            idle_limit: config.idle_limit,
            attach_limit: config.attach_limit,
            hard_end,
            state: Mutex::new(State {
                uses: [0; 4],
                last_use: now,
                last_client: now,
                soft_end: config.ttl.map(|ttl| now + ttl),
            }),
            changed: Notify::new(),
        })
    }

    pub(crate) fn begin(self: &Arc<Self>, kind: Use) -> InUse {
        let mut state = self.state();
        state.uses[kind as usize] += 1;
        if kind.is_use() {
            state.last_use = Instant::now();
        }
        InUse {
            lifetime: Arc::clone(self),
            kind,
        }
    }

    /// How many there are of a kind.
    pub(crate) fn count(&self, kind: Use) -> usize {
        self.state().uses[kind as usize]
    }

    /// Something was asked for.
    pub(crate) fn touch(&self) {
        self.state().last_use = Instant::now();
    }

    /// Moves the soft end to `time` from now, never nearer and never past the hard end.
    /// How long the sandbox has from now on.
    pub(crate) fn extend(&self, time: Duration) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(soft) = state.soft_end {
            // A time too far to be told lies past every hard end.
            state.soft_end = now.checked_add(time).map(|asked| asked.max(soft));
        }
        let end = match (state.soft_end, self.hard_end) {
            (Some(soft), Some(hard)) => Some(soft.min(hard)),
            (soft, hard) => soft.or(hard),
        };
        drop(state);
        self.changed.notify_waiters();
        end.map_or(time, |end| end.saturating_duration_since(now))
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) -> End {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let Some((at, end)) = self.next_end() else {
                changed.await;
                continue;
            };
            if at <= Instant::now() {
                return end;
            }
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = changed => {}
            }
        }
    }

    fn next_end(&self) -> Option<(Instant, End)> {
        let state = self.state();
        let idle = self
            .idle_limit
            .filter(|_| state.uses[Use::Channel as usize] + state.uses[Use::Job as usize] == 0);
        let unattended = self
            .attach_limit
            .filter(|_| state.uses[Use::Client as usize] == 0);
        [
            state.soft_end.map(|at| (at, End::Expired)),
            self.hard_end.map(|at| (at, End::Expired)),
            unattended.map(|limit| (state.last_client + limit, End::Unattended)),
            idle.map(|limit| (state.last_use + limit, End::Idle)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InUse {
    /// It is now of another kind.
    pub(crate) fn turn_into(&mut self, kind: Use) {
        let mut state = self.lifetime.state();
        state.uses[self.kind as usize] -= 1;
        state.uses[kind as usize] += 1;
        state.last_use = Instant::now();
        self.kind = kind;
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        let mut state = self.lifetime.state();
        state.uses[self.kind as usize] -= 1;
        if self.kind.is_use() {
            state.last_use = Instant::now();
        }
        if self.kind == Use::Client {
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
    async fn nothing_ends_it_unless_asked() {
        let life = Lifetime::new(&config());
        assert!(
            tokio::time::timeout(SECOND * 1_000_000, life.ended())
                .await
                .is_err()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_or_a_job_is_not_idle() {
        for kind in [Use::Channel, Use::Job] {
            let life = Lifetime::new(&config().with_idle_limit(SECOND));
            let using = life.begin(kind);
            assert!(
                tokio::time::timeout(SECOND * 10, life.ended())
                    .await
                    .is_err()
            );
            drop(using);
            let start = Instant::now();
            assert_eq!(life.ended().await, End::Idle);
            assert_eq!(start.elapsed().as_secs(), 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_come_and_go_and_ask_for_nothing_are_idle() {
        let life = Lifetime::new(&config().with_idle_limit(SECOND * 10));
        let start = Instant::now();
        let comes_and_goes = async {
            loop {
                let client = life.begin(Use::Client);
                tokio::time::sleep(SECOND * 3).await;
                drop(client);
            }
        };
        tokio::select! {
            end = life.ended() => assert_eq!(end, End::Idle),
            () = comes_and_goes => {}
        }
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_is_kept_ready_is_idle() {
        let life = Lifetime::new(&config().with_idle_limit(SECOND * 10));
        let mut ready = life.begin(Use::Ready);
        let start = Instant::now();
        assert_eq!(life.ended().await, End::Idle);
        assert_eq!(start.elapsed().as_secs(), 10);
        ready.turn_into(Use::Channel);
        assert!(
            tokio::time::timeout(SECOND * 20, life.ended())
                .await
                .is_err()
        );
        ready.turn_into(Use::Ready);
        tokio::time::sleep(SECOND * 9).await;
        drop(ready);
        assert_eq!(life.ended().await, End::Idle);
        assert_eq!(start.elapsed().as_secs(), 40, "its end is no use either");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_must_come_and_stay() {
        let life = Lifetime::new(&config().with_attach_limit(SECOND));
        let client = life.begin(Use::Client);
        assert!(
            tokio::time::timeout(SECOND * 10, life.ended())
                .await
                .is_err()
        );
        drop(client);
        let _job = life.begin(Use::Job);
        assert_eq!(life.ended().await, End::Unattended);
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_life_ends_at_the_hard_end() {
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
        assert_eq!(life.ended().await, End::Expired);
        assert_eq!(start.elapsed().as_secs(), 60);
    }
}
