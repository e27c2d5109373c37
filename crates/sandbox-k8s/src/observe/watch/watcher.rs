//! What a backend asks of its watch.

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
use crate::observe::status::{PodView, managed_view};

/// What is known, kept up by a watch that begins with the first question and ends with this.
pub(crate) struct Watch {
    pub(crate) api: Arc<ApiClient>,
    pub(super) shared: Arc<Shared>,
    task: OnceLock<AbortHandle>,
    /// Whether we hold a Lease ourselves, and so may look at those of others.
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

    /// What is known of a sandbox; asked for when nothing is.
    pub(crate) async fn find(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.start();
        let lookup = self.shared.lock().index.look_up(id);
        match lookup {
            Lookup::Present(view) => Ok(Some(view)),
            Lookup::Missing => Ok(None),
            Lookup::Unknown => self.fetch(id).await,
        }
    }

    /// Asks the API server for one sandbox.
    pub(crate) async fn fetch(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.fetch_within(id, LOOKUP_TIMEOUT).await
    }

    pub(super) async fn fetch_within(
        &self,
        id: &SandboxId,
        limit: Duration,
    ) -> Result<Option<Arc<PodView>>> {
        self.start();
        let found = self.api.get::<Pod>(id, Deadline::from_now(limit)).await?;
        let Some(view) = found.and_then(|(pod, _)| managed_view(&pod)) else {
            return Ok(None);
        };
        self.shared.update(|index| index.record_read(view.clone()));
        Ok(Some(Arc::new(view)))
    }

    /// Whether the watch has said anything within this time. It tells things in their order, so what it
    /// has not told of until then has not happened.
    pub(crate) fn received_within(&self, time: Duration) -> bool {
        self.shared
            .lock()
            .last_event_at
            .is_some_and(|at| now().saturating_duration_since(at) < time)
    }

    /// Whether it is known, without asking anybody, that an instance has ended or is gone.
    pub(crate) fn has_ended(&self, uid: &Uid) -> bool {
        match self.shared.lock().index.look_up_instance(uid) {
            Lookup::Missing => true,
            Lookup::Present(view) => view.state == SandboxState::Ended,
            Lookup::Unknown => false,
        }
    }

    /// Whether asking again may bring another answer. An API server that has only just come back
    /// knows nobody's rights.
    pub(super) fn is_worth_retrying(&self, error: &Error) -> bool {
        let starting = self.api.outage.is_recent() && !matches!(error, Error::Config { .. });
        starting || error.is_retryable()
    }

    /// All that there are, from memory once a first list is there.
    pub(crate) async fn list(&self) -> Result<Vec<Arc<PodView>>> {
        self.start();
        if let Some(known) = self.shared.lock().index.views() {
            return Ok(known);
        }
        let (pods, _) = self
            .api
            .list::<Pod>(&labels::selector(), Deadline::from_now(LOOKUP_TIMEOUT))
            .await?;
        Ok(pods.iter().filter_map(managed_view).map(Arc::new).collect())
    }

    /// The answer to our own create.
    pub(crate) fn record_created(&self, view: PodView) {
        self.shared.lock().sweeper.record_created(&view.uid);
        self.record_write(view);
    }

    /// The answer to our own create or patch.
    pub(crate) fn record_write(&self, view: PodView) {
        self.start();
        self.shared.update(|index| index.record_write(view, now()));
    }

    /// The API server has accepted our delete.
    pub(crate) fn record_deletion(&self, uid: &Uid) {
        self.shared
            .update(|index| index.record_deletion(uid, now()));
    }

    /// The API server says that there is none.
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
