//! The watch as the rest of the backend uses it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, Result, SandboxId, SandboxState, Uid};
use tokio::task::AbortHandle;

use super::maintenance::run_maintenance;
use super::state::{Shared, now};
use super::stream::list_and_watch;
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::manifest::labels;
use crate::observe::index::Lookup;
use crate::observe::status::{Identity, PodView, managed_view};

/// A view of all sandboxes, kept up to date by one watch. The watch starts with the first lookup and
/// ends when this is dropped.
pub(crate) struct Watch {
    pub(crate) api: Arc<ApiClient>,
    pub(super) shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
    /// Whether this client holds a Lease itself, and so has the right to list those of others.
    leases: bool,
}

impl Watch {
    pub(crate) fn new(api: Arc<ApiClient>, leases: bool) -> Self {
        Self {
            api,
            shared: Arc::default(),
            task: OnceLock::new(),
            leases,
        }
    }

    /// Returns the view of a sandbox, requesting it if the index does not decide.
    pub(crate) async fn find(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.start();
        let lookup = self.shared.lock().index.look_up(id);
        match lookup {
            Lookup::Present(view) => Ok(Some(view)),
            Lookup::Missing => Ok(None),
            Lookup::Unknown => self.fetch(id).await,
        }
    }

    /// Requests one sandbox from the API server.
    pub(crate) async fn fetch(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.fetch_within(id, LOOKUP_TIMEOUT).await
    }

    pub(super) async fn fetch_within(
        &self,
        id: &SandboxId,
        limit: Duration,
    ) -> Result<Option<Arc<PodView>>> {
        match self.identify_within(id, limit).await? {
            Identity::Sandbox(view) => Ok(Some(view)),
            Identity::Foreign(why) => {
                tracing::debug!(k8s.pod = %id, %why, "ignoring a Pod that is no sandbox");
                Ok(None)
            }
            Identity::Free => Ok(None),
        }
    }

    /// Requests the Pod of an id from the API server, and decides what the id stands for.
    pub(crate) async fn identify(&self, id: &SandboxId) -> Result<Identity> {
        self.identify_within(id, LOOKUP_TIMEOUT).await
    }

    async fn identify_within(&self, id: &SandboxId, limit: Duration) -> Result<Identity> {
        self.start();
        let found = self.api.get::<Pod>(id, Deadline::from_now(limit)).await?;
        let mut identity = Identity::from_pod(found.as_ref().map(|(pod, _)| pod));
        if let Identity::Sandbox(view) = &mut identity {
            self.shared.update(|index| {
                index.recall_cause(Arc::make_mut(view));
                index.record_read(PodView::clone(view))
            });
        }
        Ok(identity)
    }

    /// Whether the watch has delivered an event within this time. It delivers events in their order, so
    /// whatever it has not reported by then has not happened.
    pub(crate) fn received_within(&self, time: Duration) -> bool {
        self.shared
            .lock()
            .last_event_at
            .is_some_and(|at| now().saturating_duration_since(at) < time)
    }

    /// Returns what was last known of an instance, without a request.
    pub(crate) fn last_view(&self, uid: &Uid) -> Option<Arc<PodView>> {
        self.shared.lock().index.last_view(uid)
    }

    /// Whether the index shows, without a request, that an instance has ended or does not exist.
    pub(crate) fn has_ended(&self, uid: &Uid) -> bool {
        match self.shared.lock().index.look_up_instance(uid) {
            Lookup::Missing => true,
            Lookup::Present(view) => view.state == SandboxState::Ended,
            Lookup::Unknown => false,
        }
    }

    /// Whether a retry may succeed. An API server that has just started does not have the roles loaded
    /// yet, and forbids everything.
    pub(super) fn is_worth_retrying(&self, error: &Error) -> bool {
        let starting = self.api.outage.is_recent() && !matches!(error, Error::Config { .. });
        starting || error.is_retryable()
    }

    /// Returns all sandboxes: from the index once a first list is complete, else by a request.
    pub(crate) async fn list(&self) -> Result<Vec<Arc<PodView>>> {
        self.start();
        if let Some(views) = self.shared.lock().index.views() {
            return Ok(views);
        }
        let view = |pod: Pod| managed_view(&pod).map(Arc::new);
        let selector = labels::selector();
        let (views, _) = self.api.list(&selector, LOOKUP_TIMEOUT, view).await?;
        Ok(views)
    }

    /// Records the response to a create request of this client.
    pub(crate) fn record_created(&self, view: PodView) {
        self.shared.lock().sweeper.record_created(&view.uid);
        self.record_write(view);
    }

    /// Records the response to a create or patch request of this client.
    pub(crate) fn record_write(&self, view: PodView) {
        self.start();
        self.shared.update(|index| index.record_write(view, now()));
    }

    /// Records that the API server accepted a delete request of this client.
    pub(crate) fn record_deletion(&self, uid: &Uid) {
        self.shared
            .update(|index| index.record_deletion(uid, now()));
    }

    /// Records that the API server has no such instance.
    pub(crate) fn record_absence(&self, uid: &Uid) {
        self.shared.update(|index| index.record_absence(uid, now()));
    }

    pub(super) fn start(&self) {
        self.task.get_or_init(|| {
            let (api, shared) = (Arc::clone(&self.api), Arc::clone(&self.shared));
            tokio::spawn(run(api, shared, self.leases)).abort_handle()
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

async fn run(api: Arc<ApiClient>, shared: Arc<Shared>, leases: bool) {
    tokio::join!(
        list_and_watch(&api, &shared),
        run_maintenance(&api, &shared, leases)
    );
}
