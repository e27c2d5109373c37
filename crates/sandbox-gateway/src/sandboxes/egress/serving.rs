//! Serving the way out of sandboxes from this process: those that it creates, and those that requests are about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandbox::{Egress, Error, Sandbox, ServeEgress, Uid};

use super::Reach;

/// How long after a failed attempt the next request makes another one.
const RETRY_PAUSE: Duration = Duration::from_secs(15);
/// How long an attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request waits for the first attempt. It succeeds in less, unless another replica serves the sandbox.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// What this process has done about the egress of sandboxes, by instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Servings(Arc<Mutex<HashMap<Uid, Serving>>>);

#[derive(Debug, Default)]
struct Serving {
    /// The version of the wish whose rules are in force.
    applied: Option<u64>,
    next_try: Option<Instant>,
    turn: Arc<tokio::sync::Mutex<()>>,
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

    /// Forgets an instance that has ended.
    pub(crate) fn forget(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// Puts rules in force, and serves the sandbox if this process does not yet. If another replica serves it, that is
    /// tried again for a later request. Cancelling leaves the attempt running.
    pub(crate) async fn serve(&self, sandbox: &Sandbox, reach: Reach, version: u64) {
        let waits = sandbox.egress().is_some() || {
            let mut all = self.lock();
            let serving = all.entry(sandbox.uid().clone()).or_default();
            let now = Instant::now();
            if serving.next_try.is_some_and(|next_try| now < next_try) {
                return;
            }
            serving.next_try.replace(now + RETRY_PAUSE).is_none()
        };
        let (servings, sandbox) = (self.clone(), sandbox.clone());
        let attempt = tokio::spawn(async move {
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
        if waits {
            // A longer attempt goes on.
            let _elapsed = tokio::time::timeout(FIRST_WAIT, attempt).await;
        }
    }

    /// What whoever changes the rules of an instance holds.
    pub(crate) fn turn(&self, uid: &Uid) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.lock().entry(uid.clone()).or_default().turn)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Serving>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
