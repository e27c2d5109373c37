//! The one watch that all share, and who waits for its news.

mod follow;
mod lines;
mod listen;
mod tend;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, Result, SandboxId, SandboxState, Uid};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::call::Caller;
use crate::index::{Health, Index, Sight, Waiter};
use crate::labels;
use crate::reap::Reaper;
use crate::status::PodView;

pub(crate) use follow::Follow;
pub(crate) use lines::Lines;

/// What is known, kept up by a watch that begins with the first question and ends with this.
pub(crate) struct Watch {
    pub(crate) caller: Arc<Caller>,
    shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
    /// Whether we hold a Lease ourselves, and so may look at those of others.
    leases: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index,
    asleep: HashMap<Waiter, Arc<Notify>>,
    reaper: Reaper,
    /// When the watch said something last, about whichever sandbox.
    heard: Option<Instant>,
}

/// How long a read may take for which nobody set a deadline.
pub(crate) const ASK: Duration = Duration::from_secs(30);

impl Watch {
    pub(crate) fn new(caller: Arc<Caller>, leases: bool) -> Self {
        Self {
            caller,
            shared: Arc::default(),
            task: OnceLock::new(),
            leases,
        }
    }

    /// What is known of a sandbox; asked for when nothing is.
    pub(crate) async fn find(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.begin();
        let sight = self.shared.lock().index.look(id);
        match sight {
            Sight::Present(view) => Ok(Some(view)),
            Sight::Gone => Ok(None),
            Sight::Unknown => self.ask(id).await,
        }
    }

    /// Asks the API server for one sandbox.
    pub(crate) async fn ask(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.ask_within(id, ASK).await
    }

    async fn ask_within(&self, id: &SandboxId, limit: Duration) -> Result<Option<Arc<PodView>>> {
        self.begin();
        let found = self
            .caller
            .get::<Pod>(id, Deadline::from_now(limit))
            .await?;
        let Some(view) = found.and_then(|(pod, _)| of_ours(&pod)) else {
            return Ok(None);
        };
        self.shared.tell(|index| index.read(view.clone()));
        Ok(Some(Arc::new(view)))
    }

    /// Whether the watch has said anything within this time. It tells things in their order, so what it
    /// has not told of until then has not happened.
    pub(crate) fn was_heard_within(&self, time: Duration) -> bool {
        self.shared
            .lock()
            .heard
            .is_some_and(|heard| now().saturating_duration_since(heard) < time)
    }

    /// Whether it is known, without asking anybody, that an instance has ended or is gone.
    pub(crate) fn is_over(&self, uid: &Uid) -> bool {
        match self.shared.lock().index.look_at(uid) {
            Sight::Gone => true,
            Sight::Present(view) => view.state == SandboxState::Ended,
            Sight::Unknown => false,
        }
    }

    /// Whether asking again may bring another answer. An API server that has only just come back
    /// knows nobody's rights.
    fn may_pass(&self, error: &Error) -> bool {
        let starting = self.caller.outage.is_recent() && !matches!(error, Error::Config { .. });
        starting || error.is_retryable()
    }

    /// All that there are, from memory once a first list is there.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<PodView>>> {
        self.begin();
        if let Some(known) = self.shared.lock().index.all() {
            return Ok(known);
        }
        let (pods, _) = self
            .caller
            .list::<Pod>(&labels::selector(), Deadline::from_now(ASK))
            .await?;
        Ok(pods.iter().filter_map(of_ours).map(Arc::new).collect())
    }

    /// The answer to our own create.
    pub(crate) fn made(&self, view: PodView) {
        self.shared.lock().reaper.made(&view.uid);
        self.wrote(view);
    }

    /// The answer to our own create or patch.
    pub(crate) fn wrote(&self, view: PodView) {
        self.begin();
        self.shared.tell(|index| index.wrote(view, now()));
    }

    /// The API server has accepted our delete.
    pub(crate) fn deleting(&self, uid: &Uid) {
        self.shared.tell(|index| index.deleting(uid, now()));
    }

    /// The API server says that there is none.
    pub(crate) fn gone(&self, uid: &Uid) {
        self.shared.tell(|index| index.gone(uid, now()));
    }

    /// Begins to wait for news of an instance.
    pub(crate) fn follow(self: &Arc<Self>, id: &SandboxId, uid: &Uid) -> Follow {
        self.begin();
        Follow::new(self, id, uid)
    }

    fn begin(&self) {
        self.task.get_or_init(|| {
            let (caller, shared) = (Arc::clone(&self.caller), Arc::clone(&self.shared));
            tokio::spawn(run(caller, shared, self.leases)).abort_handle()
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the index, and wakes whom it concerns.
    fn tell(&self, change: impl FnOnce(&mut Index) -> Vec<Waiter>) {
        let mut state = self.lock();
        let before = state.index.health().clone();
        let woken = change(&mut state.index);
        for waiter in woken {
            if let Some(asleep) = state.asleep.get(&waiter) {
                asleep.notify_one();
            }
        }
        match (before, state.index.health()) {
            (Health::Degraded(_), Health::Degraded(_)) => {}
            (_, Health::Degraded(why)) => {
                tracing::warn!(%why, "sandboxes cannot be watched; each is asked for instead, which is slow");
            }
            (Health::Degraded(_), _) => tracing::info!("sandboxes are watched again"),
            _ => {}
        }
    }
}

async fn run(caller: Arc<Caller>, shared: Arc<Shared>, leases: bool) {
    tokio::join!(
        listen::listen(&caller, &shared),
        tend::tend(&caller, &shared, leases)
    );
}

/// Reads what a Pod says; one that only looks like ours is passed over.
pub(crate) fn of_ours(pod: &Pod) -> Option<PodView> {
    match PodView::of(pod) {
        Ok(view) => Some(view),
        Err(why) => {
            tracing::debug!(k8s.pod = pod.metadata.name, %why, "a Pod with the SDK's label is not the SDK's");
            None
        }
    }
}

/// Tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
