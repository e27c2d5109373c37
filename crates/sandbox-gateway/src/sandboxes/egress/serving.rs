//! Serving the way out of sandboxes from this process: those that it creates, and those that requests are about.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandbox::{Egress, Error, Sandbox, ServeEgress, Uid};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Reach;

/// How long after a failed attempt the next request makes another one.
const RETRY_PAUSE: Duration = Duration::from_secs(15);
/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests wait for the first attempt. It succeeds in less, unless another replica serves the sandbox.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The same in a process that has just started: most often it follows one that has served the sandbox, and the proof that a Pod has
/// no network takes a second where packets are dropped.
const START_WAIT: Duration = Duration::from_secs(3);

/// What this process has done about the egress of sandboxes, by instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servings {
    instances: Arc<Mutex<HashMap<Uid, Serving>>>,
    /// Those of a former process have had their first attempt.
    has_started: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Serving {
    /// The version of the wish whose rules are in force.
    applied: Option<u64>,
    next_try: Option<Instant>,
    /// The first attempt, which requests wait for.
    first: Option<Attempt>,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// An attempt that has begun.
#[derive(Debug, Clone)]
struct Attempt {
    /// Its sender is dropped at the end.
    ended: watch::Receiver<()>,
    /// Until when it is waited for.
    until: Instant,
}

impl Attempt {
    async fn wait(mut self) {
        // A longer attempt goes on.
        let _elapsed = tokio::time::timeout_at(self.until, self.ended.changed()).await;
    }
}

impl Servings {
    /// Whether the rules of this version, or newer ones, are in force.
    pub(crate) fn has(&self, uid: &Uid, version: u64) -> bool {
        self.lock()
            .get(uid)
            .is_some_and(|serving| serving.applied >= Some(version))
    }

    /// Records that the rules of this version are in force.
    pub(crate) fn record(&self, uid: &Uid, version: u64) {
        let mut all = self.lock();
        let serving = all.entry(uid.clone()).or_default();
        serving.applied = serving.applied.max(Some(version));
    }

    /// Marks that each sandbox of a former process has had its first attempt.
    pub(crate) fn set_started(&self) {
        self.has_started.store(true, Ordering::Relaxed);
    }

    /// Forgets an instance that has ended.
    pub(crate) fn forget(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// Puts rules in force, and serves the sandbox if this process does not yet. If another replica serves it, that is
    /// tried again for a later request. Cancelling leaves the attempt running.
    pub(crate) async fn serve(&self, sandbox: &Sandbox, reach: Reach, version: u64) {
        let (attempt, begun) = self.begin(sandbox.uid(), sandbox.egress().is_some());
        if let Some(end) = begun {
            self.spawn(sandbox.clone(), reach, version, end);
        }
        if let Some(attempt) = attempt {
            attempt.wait().await;
        }
    }

    /// Decides whether another attempt is made now, whose end is reported by dropping the sender, and which one is waited for.
    fn begin(&self, uid: &Uid, is_served: bool) -> (Option<Attempt>, Option<watch::Sender<()>>) {
        let mut all = self.lock();
        let serving = all.entry(uid.clone()).or_default();
        let now = Instant::now();
        if !is_served && serving.next_try.is_some_and(|next_try| now < next_try) {
            return (serving.first.clone(), None);
        }
        let (end, ended) = watch::channel(());
        let wait = if self.has_started.load(Ordering::Relaxed) {
            FIRST_WAIT
        } else {
            START_WAIT
        };
        let attempt = Attempt {
            ended,
            until: now + wait,
        };
        if is_served {
            return (Some(attempt), Some(end));
        }
        let is_first = serving.next_try.replace(now + RETRY_PAUSE).is_none();
        serving.first = is_first.then_some(attempt);
        (serving.first.clone(), Some(end))
    }

    fn spawn(&self, sandbox: Sandbox, reach: Reach, version: u64, end: watch::Sender<()>) {
        let servings = self.clone();
        tokio::spawn(async move {
            let _end = end;
            let turn = servings.turn(sandbox.uid());
            let _turn = turn.lock().await;
            // Newer rules may have come first.
            if servings.has(sandbox.uid(), version) {
                return;
            }
            match put_in_force(&sandbox, reach).await {
                Ok(()) => servings.record(sandbox.uid(), version),
                Err(error) => {
                    tracing::debug!(id = %sandbox.id(), %error, "egress not served; another replica may do so");
                }
            }
        });
    }

    /// What whoever changes the rules of an instance holds.
    pub(crate) fn turn(&self, uid: &Uid) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.lock().entry(uid.clone()).or_default().turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Serving>> {
        self.instances
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces the rules of a sandbox that this process serves, or serves it with its upstreams and transforms.
///
/// # Errors
///
/// Those of [`Sandbox::serve_egress`]; [`Error::Connection`] if another process serves it.
pub(crate) async fn put_in_force(sandbox: &Sandbox, reach: Reach) -> sandbox::Result<()> {
    let rules = reach.rules.unwrap_or_else(Egress::open);
    if sandbox.egress().is_some() {
        return sandbox.update_egress(rules);
    }
    let upstreams = reach.upstreams.iter().cloned();
    let serving = upstreams.fold(sandbox.serve_egress(rules), ServeEgress::upstream);
    let transforms = reach.transforms.iter().cloned();
    let serving = transforms.fold(serving, ServeEgress::host_transform);
    match tokio::time::timeout(ATTEMPT_TIMEOUT, serving).await {
        Ok(served) => served,
        Err(_elapsed) => Err(Error::Timeout {
            operation: "serving the egress of the sandbox",
            after: ATTEMPT_TIMEOUT,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_an_attempt_that_another_has_begun() {
        for (has_started, wait) in [(false, START_WAIT), (true, FIRST_WAIT)] {
            let servings = Servings::default();
            if has_started {
                servings.set_started();
            }
            let uid = Uid::new("a");
            let begun = Instant::now();
            let (first, end) = servings.begin(&uid, false);
            let (same, none) = servings.begin(&uid, false);
            assert!(none.is_none());
            // It takes longer than requests wait.
            tokio::join!(first.unwrap().wait(), same.clone().unwrap().wait());
            let timer = Duration::from_millis(2);
            assert!((wait..wait + timer).contains(&begun.elapsed()));
            // Once it has ended, nothing is waited for.
            drop(end);
            let begun = Instant::now();
            same.unwrap().wait().await;
            let (ended, _) = servings.begin(&uid, false);
            ended.unwrap().wait().await;
            assert_eq!(begun.elapsed(), Duration::ZERO);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_further_attempt_is_made_after_a_pause_and_not_waited_for() {
        let (servings, uid) = (Servings::default(), Uid::new("a"));
        drop(servings.begin(&uid, false));
        tokio::time::advance(RETRY_PAUSE).await;
        let (waits, end) = servings.begin(&uid, false);
        assert!(waits.is_none() && end.is_some());
        // New rules of a sandbox that is served are put in force at once.
        let (waits, end) = servings.begin(&uid, true);
        assert!(waits.is_some() && end.is_some());
    }
}
