//! What a backend asks of its watch.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, Result, SandboxId, SandboxState, Uid};
use tokio::task::AbortHandle;

use super::maintenance::tend;
use super::state::{Shared, now};
use super::stream::listen;
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
        self.begin();
        let sight = self.shared.lock().index.look(id);
        match sight {
            Lookup::Present(view) => Ok(Some(view)),
            Lookup::Missing => Ok(None),
            Lookup::Unknown => self.ask(id).await,
        }
    }

    /// Asks the API server for one sandbox.
    pub(crate) async fn ask(&self, id: &SandboxId) -> Result<Option<Arc<PodView>>> {
        self.ask_within(id, LOOKUP_TIMEOUT).await
    }

    pub(super) async fn ask_within(
        &self,
        id: &SandboxId,
        limit: Duration,
    ) -> Result<Option<Arc<PodView>>> {
        self.begin();
        let found = self.api.get::<Pod>(id, Deadline::from_now(limit)).await?;
        let Some(view) = found.and_then(|(pod, _)| managed_view(&pod)) else {
            return Ok(None);
        };
        self.shared.tell(|index| index.read(view.clone()));
        Ok(Some(Arc::new(view)))
    }

    /// Whether the watch has said anything within this time. It tells things in their order, so what it
    /// has not told of until then has not happened.
    pub(crate) fn received_within(&self, time: Duration) -> bool {
        self.shared
            .lock()
            .heard
            .is_some_and(|heard| now().saturating_duration_since(heard) < time)
    }

    /// Whether it is known, without asking anybody, that an instance has ended or is gone.
    pub(crate) fn is_over(&self, uid: &Uid) -> bool {
        match self.shared.lock().index.look_at(uid) {
            Lookup::Missing => true,
            Lookup::Present(view) => view.state == SandboxState::Ended,
            Lookup::Unknown => false,
        }
    }

    /// Whether asking again may bring another answer. An API server that has only just come back
    /// knows nobody's rights.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        let starting = self.api.outage.is_recent() && !matches!(error, Error::Config { .. });
        starting || error.is_retryable()
    }

    /// All that there are, from memory once a first list is there.
    pub(crate) async fn all(&self) -> Result<Vec<Arc<PodView>>> {
        self.begin();
        if let Some(known) = self.shared.lock().index.all() {
            return Ok(known);
        }
        let (pods, _) = self
            .api
            .list::<Pod>(&labels::selector(), Deadline::from_now(LOOKUP_TIMEOUT))
            .await?;
        Ok(pods.iter().filter_map(managed_view).map(Arc::new).collect())
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

    pub(super) fn begin(&self) {
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
    tokio::join!(listen(&api, &shared), tend(&api, &shared, leases));
}
