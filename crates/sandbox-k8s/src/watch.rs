//! The one watch that all share, and who waits for its news.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::watcher::{self, Event, watcher};
use sandbox_core::{Deadline, Result, SandboxId, Uid};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use crate::call::Caller;
use crate::classify::backoff;
use crate::index::{Health, Index, News, Sight, Waiter};
use crate::labels;
use crate::reap::{self, Reaper};
use crate::status::PodView;

/// What is known, kept up by a watch that begins with the first question and ends with this.
pub(crate) struct Watch {
    pub(crate) caller: Arc<Caller>,
    shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index,
    asleep: HashMap<Waiter, Arc<Notify>>,
}

/// How long a read may take for which nobody set a deadline.
pub(crate) const ASK: Duration = Duration::from_secs(30);
/// Between two reads of one sandbox where there is no watch.
const WITHOUT_WATCH: Duration = Duration::from_millis(500);
/// How often own writes are looked for that the watch does not show, and ended sandboxes.
const TEND: Duration = Duration::from_secs(5);

impl Watch {
    pub(crate) fn new(caller: Arc<Caller>) -> Self {
        Self { caller, shared: Arc::default(), task: OnceLock::new() }
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
        self.begin();
        let found = self.caller.get::<Pod>(id, Deadline::after(ASK)).await?;
        let Some(view) = found.and_then(|(pod, _)| of_ours(&pod)) else { return Ok(None) };
        self.shared.tell(|index| index.read(view.clone()));
        Ok(Some(Arc::new(view)))
    }

    /// All that there are, from memory once a first list is there.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<PodView>>> {
        self.begin();
        if let Some(known) = self.shared.lock().index.all() {
            return Ok(known);
        }
        let (pods, _) = self.caller.list::<Pod>(&labels::selector(), Deadline::after(ASK)).await?;
        Ok(pods.iter().filter_map(of_ours).map(Arc::new).collect())
    }

    /// The answer to our own create or patch.
    pub(crate) fn wrote(&self, view: PodView) {
        self.begin();
        self.shared.tell(|index| index.wrote(view, Instant::now()));
    }

    /// The API server has accepted our delete.
    pub(crate) fn deleting(&self, uid: &Uid) {
        self.shared.tell(|index| index.deleting(uid, Instant::now()));
    }

    /// The API server says that there is none.
    pub(crate) fn gone(&self, uid: &Uid) {
        self.shared.tell(|index| index.gone(uid, Instant::now()));
    }

    /// Begins to wait for news of an instance.
    pub(crate) fn follow(self: &Arc<Self>, id: &SandboxId, uid: &Uid) -> Follow {
        self.begin();
        let mut state = self.shared.lock();
        let waiter = state.index.wait_for(uid.clone());
        let news = Arc::new(Notify::new());
        state.asleep.insert(waiter.clone(), Arc::clone(&news));
        Follow { watch: Arc::clone(self), id: id.clone(), uid: uid.clone(), waiter, news }
    }

    fn begin(&self) {
        self.task.get_or_init(|| {
            let (caller, shared) = (Arc::clone(&self.caller), Arc::clone(&self.shared));
            tokio::spawn(run(caller, shared)).abort_handle()
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

/// Someone who waits for news of one instance.
pub(crate) struct Follow {
    watch: Arc<Watch>,
    id: SandboxId,
    uid: Uid,
    waiter: Waiter,
    news: Arc<Notify>,
}

impl Follow {
    /// What is known now, waiting for it to differ from what was `seen`; `None` when the
    /// instance is gone.
    ///
    /// # Errors
    ///
    /// Without a watch, what the API server answers to a read.
    pub(crate) async fn next(&self, seen: Option<&Arc<PodView>>) -> Result<Option<Arc<PodView>>> {
        loop {
            let (sight, degraded) = {
                let state = self.watch.shared.lock();
                (state.index.look_at(&self.uid), matches!(state.index.health(), Health::Degraded(_)))
            };
            match sight {
                Sight::Gone => return Ok(None),
                Sight::Present(view) if seen != Some(&view) => return Ok(Some(view)),
                Sight::Present(_) => self.news.notified().await,
                Sight::Unknown if !degraded && seen.is_some() => self.news.notified().await,
                Sight::Unknown => match self.watch.ask(&self.id).await? {
                    Some(view) if view.uid != self.uid => return Ok(None),
                    None => return Ok(None),
                    Some(view) if seen != Some(&view) => return Ok(Some(view)),
                    Some(_) => {
                        // Whichever is first: the watch may come back.
                        let _news = tokio::time::timeout(WITHOUT_WATCH, self.news.notified()).await;
                    }
                },
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut state = self.watch.shared.lock();
        state.index.forget(&self.waiter);
        state.asleep.remove(&self.waiter);
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

async fn run(caller: Arc<Caller>, shared: Arc<Shared>) {
    tokio::join!(listen(&caller, &shared), tend(&caller, &shared));
}

async fn listen(caller: &Caller, shared: &Shared) {
    let pods: Api<Pod> = Api::namespaced(caller.client.clone(), &caller.namespace);
    let mut stream = watcher(pods, watcher::Config::default().labels(&labels::selector())).boxed();
    let mut failures = 0;
    loop {
        match stream.next().await {
            Some(Ok(event)) => {
                failures = 0;
                if let Some(news) = news(event) {
                    shared.tell(|index| index.apply(news, Instant::now()));
                }
            }
            // It goes on by itself where it stopped, at once: how fast is for us to say.
            Some(Err(error)) => {
                tracing::debug!(%error, failures, "the watch was interrupted");
                let why = error.to_string();
                let forbidden = is_forbidden(&error);
                shared.tell(|index| index.apply(News::Failed(why.clone()), Instant::now()));
                // What is forbidden does not get better by being asked for once more.
                while forbidden && !matches!(shared.lock().index.health(), Health::Degraded(_)) {
                    shared.tell(|index| index.apply(News::Failed(why.clone()), Instant::now()));
                }
                tokio::time::sleep(if forbidden { backoff(u32::MAX) } else { backoff(failures) }).await;
                failures = failures.saturating_add(1);
            }
            None => return,
        }
    }
}

fn news(event: Event<Pod>) -> Option<News> {
    match event {
        Event::Init => Some(News::ListBegan),
        Event::InitApply(pod) => of_ours(&pod).map(News::Listed),
        Event::InitDone => Some(News::ListDone),
        Event::Apply(pod) => of_ours(&pod).map(News::Applied),
        Event::Delete(pod) => pod.metadata.uid.map(|uid| News::Removed(Uid::new(uid))),
    }
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

fn is_forbidden(error: &watcher::Error) -> bool {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        return false;
    };
    matches!(status.code, 401 | 403)
}

/// What is to be done from time to time.
async fn tend(caller: &Caller, shared: &Shared) {
    let mut tick = tokio::time::interval(TEND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reaper = Reaper::default();
    loop {
        tick.tick().await;
        confirm(caller, shared).await;
        let Some(all) = shared.lock().index.all() else { continue };
        for view in reaper.due(&all, Instant::now()) {
            match reap::remove(caller, &view).await {
                Ok(true) => shared.tell(|index| index.deleting(&view.uid, Instant::now())),
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(sandbox.id = %view.id, %error, "an ended sandbox cannot be removed");
                }
            }
        }
    }
}

/// Reads what we wrote and no watch has shown.
async fn confirm(caller: &Caller, shared: &Shared) {
    let overdue = shared.lock().index.unconfirmed(Instant::now());
    for (id, uid) in overdue {
        match caller.get::<Pod>(&id, Deadline::after(ASK)).await {
            Ok(found) => match found.and_then(|(pod, _)| of_ours(&pod)).filter(|view| view.uid == uid) {
                Some(view) => shared.tell(|index| index.read(view)),
                None => shared.tell(|index| index.gone(&uid, Instant::now())),
            },
            Err(error) => tracing::debug!(sandbox.id = %id, %error, "what was written cannot be read back"),
        }
    }
}
