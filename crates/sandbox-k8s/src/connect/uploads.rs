//! The uploads of SSH servers into Pods: makes them, and lets connections wait for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sandbox_core::{Result, SandboxId, SandboxState, Uid};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout_at};

use super::attempts::{Attempts, Step};
use super::errors::dial_error;
use super::route_cache::Route;
use super::schedule::StartupTimes;
use super::upload::{Retry, UploadFailure, upload};
use crate::lock::lock;
use crate::manifest::options::{InjectVia, Injection, KubernetesOptions, ServerPrograms};
use crate::observe::status::PodView;
use crate::observe::watch::{Follower, Watch};

/// Uploads at the same time. They share the way to the API server, so more would not be faster.
const MAX_CONCURRENT: usize = 16;
/// How often an upload that was interrupted is made again.
const MAX_INTERRUPTIONS: u32 = 3;
/// Attempts before the watch shows that the container runs. A kubelet reports a start up to a second late, so these
/// save time; but a container whose image is being pulled is not tried again and again. Sandboxes that start at the
/// same time share them, and with more of them than attempts each waits for the watch: an attempt costs the API server
/// and the node a connection, a list of containers and the time that the containers need to start.
const MAX_EARLY_ATTEMPTS: usize = 10;
/// The pause between two attempts in a container that has been running for a while.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the result of an upload is kept, for connections and diagnoses.
const KEEP_FOR: Duration = Duration::from_secs(600);

/// The uploads of one backend.
pub(crate) struct Uploads {
    programs: ServerPrograms,
    grace: Duration,
    /// How long containers take to start, after the Pod was scheduled.
    startup_times: StartupTimes,
    permits: Semaphore,
    /// How many run at present. There may be thousands of states.
    running: AtomicUsize,
    states: Mutex<HashMap<Uid, Entry>>,
}

struct Entry {
    state: watch::Sender<State>,
    since: Instant,
}

/// Is counted until it is dropped.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Pending,
    Complete,
    Failed(UploadFailure),
}

impl Uploads {
    pub(super) fn new(options: &KubernetesOptions) -> Self {
        let injection = match options.injection {
            Injection::Inject(via @ InjectVia::UploadVolume) => Injection::Inject(via),
            // Including what leads to an upload without an image of the server.
            _ => Injection::Inject(InjectVia::Upload),
        };
        Self {
            programs: options.server_programs.clone(),
            grace: options.startup_grace,
            startup_times: StartupTimes::new(&injection),
            permits: Semaphore::new(MAX_CONCURRENT),
            running: AtomicUsize::new(0),
            states: Mutex::default(),
        }
    }

    /// Announces an upload, so that connections wait for it.
    pub(crate) fn announce(&self, uid: &Uid) {
        let mut states = self.lock();
        states.retain(|_, entry| {
            entry.since.elapsed() < KEEP_FOR || *entry.state.borrow() == State::Pending
        });
        let (state, _) = watch::channel(State::Pending);
        let since = Instant::now();
        states.insert(uid.clone(), Entry { state, since });
    }

    /// Makes an announced upload into the Pod that was created with this nonce: as soon as the container runs, and again if
    /// it fails, until `deadline`. Ends when the Pod has ended.
    pub(crate) async fn run(
        &self,
        watch: &Arc<Watch>,
        id: &SandboxId,
        uid: &Uid,
        nonce: &str,
        deadline: Instant,
    ) {
        let started = Instant::now();
        let _counted = Counted::new(&self.running);
        let attempts = self.attempt_until(watch, id, uid, nonce, deadline);
        let state = match attempts.await {
            Some(Err(failure)) => State::Failed(failure),
            Some(Ok(())) => {
                tracing::debug!(sandbox.id = %id, elapsed = ?started.elapsed(), "server uploaded");
                State::Complete
            }
            // Whoever waits finds out about the end.
            None => State::Complete,
        };
        if let Some(entry) = self.lock().get_mut(uid) {
            entry.since = Instant::now();
            entry.state.send_replace(state);
        }
    }

    /// Returns the result of the last attempt; `None` if the Pod has ended or does not exist.
    async fn attempt_until(
        &self,
        watch: &Arc<Watch>,
        id: &SandboxId,
        uid: &Uid,
        nonce: &str,
        deadline: Instant,
    ) -> Option<Result<(), UploadFailure>> {
        let follow = watch.follow(id, uid);
        // A program can be started under the same conditions as a port is forwarded.
        let mut attempts = Attempts::new(Route::PortForward, true);
        let mut early_attempts: usize = 0;
        let mut interruptions = 0;
        let mut running: Option<Instant> = None;
        let mut view = follow.next(None).await.ok()??;
        loop {
            // The next attempt is due now, or later, or after a change of the Pod.
            match view.state {
                SandboxState::Ended => return None,
                SandboxState::Running => drop(running.get_or_insert_with(Instant::now)),
                _ => {}
            }
            attempts.observe(&view, Instant::now());
            let started = Instant::now();
            let due = match attempts.next_step(None, &self.startup_times, started) {
                _ if running.is_none() && early_attempts >= self.early_limit() => deadline,
                Step::DialPortForward | Step::DialAddress(_) => started,
                Step::WaitUntil(due) => due,
                Step::Wait => deadline,
            };
            if due > started {
                let changed = timeout_at(due.min(deadline), follow.next(Some(&view))).await;
                if let Ok(changed) = changed {
                    view = changed.ok()??;
                } else if Instant::now() >= deadline {
                    return Some(Err(UploadFailure::too_late()));
                }
                continue;
            }

            // One attempt, which the end of the Pod ends as well.
            let attempt = async {
                let _permit = self.permits.acquire().await;
                upload(&watch.api, id, nonce, &self.programs).await
            };
            let result = tokio::select! {
                biased;
                () = wait_for_end(&follow, &view) => return None,
                result = timeout_at(deadline, attempt) => result,
            };
            let failure = match result {
                Ok(Ok(())) => {
                    // The container ran when the attempt started, whatever the upload took.
                    if let Some((elapsed, is_first)) = attempts.startup_time(started) {
                        self.startup_times.record(elapsed, is_first);
                    }
                    return Some(Ok(()));
                }
                Ok(Err(failure)) => failure,
                Err(_elapsed) => return Some(Err(UploadFailure::too_late())),
            };

            // What the failure means for the next one.
            tracing::debug!(sandbox.id = %id, why = failure.message, "server not uploaded");
            early_attempts += usize::from(running.is_none());
            interruptions += u32::from(failure.retry == Retry::Few);
            let is_final = match failure.retry {
                Retry::No => true,
                Retry::Few => interruptions > MAX_INTERRUPTIONS,
                Retry::Start => running.is_some_and(|since| since.elapsed() >= self.grace),
            };
            if is_final {
                return Some(Err(failure));
            }
            if !attempts.record_failure(started, &self.startup_times, Instant::now()) {
                tokio::time::sleep(PAUSE).await;
            }
            view = follow.next(None).await.ok()??;
        }
    }

    /// Returns how many attempts each upload may make before its container is known to run.
    fn early_limit(&self) -> usize {
        MAX_EARLY_ATTEMPTS / self.running.load(Ordering::Relaxed).max(1)
    }

    /// Waits until the server of an instance is there, if this client uploads it.
    ///
    /// # Errors
    ///
    /// A failed upload.
    pub(super) async fn wait(&self, uid: &Uid) -> Result<()> {
        let Some(mut state) = self.subscribe(uid) else {
            return Ok(());
        };
        let state = state.wait_for(|state| *state != State::Pending).await;
        match state.as_deref() {
            Ok(State::Failed(failure)) => Err(dial_error(failure.message.clone())),
            // Without a sender, the upload is complete.
            Ok(State::Pending | State::Complete) | Err(_) => Ok(()),
        }
    }

    /// Waits until the upload of an instance has failed, forever if it does not.
    pub(crate) async fn wait_for_failure(&self, uid: &Uid) -> UploadFailure {
        if let Some(mut state) = self.subscribe(uid)
            && let Ok(state) = state
                .wait_for(|state| matches!(state, State::Failed(_)))
                .await
            && let State::Failed(failure) = &*state
        {
            return failure.clone();
        }
        std::future::pending().await
    }

    /// Returns why the upload of an instance has failed, if it has.
    pub(crate) fn failure(&self, uid: &Uid) -> Option<UploadFailure> {
        match &*self.subscribe(uid)?.borrow() {
            State::Failed(failure) => Some(failure.clone()),
            State::Pending | State::Complete => None,
        }
    }

    /// Whether this client has uploaded the server of an instance, so that it responds at once.
    pub(super) fn is_complete(&self, uid: &Uid) -> bool {
        self.subscribe(uid)
            .is_some_and(|state| *state.borrow() == State::Complete)
    }

    fn subscribe(&self, uid: &Uid) -> Option<watch::Receiver<State>> {
        self.lock().get(uid).map(|entry| entry.state.subscribe())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Entry>> {
        lock(&self.states)
    }
}

async fn wait_for_end(follow: &Follower, current: &Arc<PodView>) {
    let mut last = Arc::clone(current);
    loop {
        match follow.next(Some(&last)).await {
            Ok(Some(view)) if view.state != SandboxState::Ended => last = view,
            Ok(_) | Err(_) => return,
        }
    }
}
