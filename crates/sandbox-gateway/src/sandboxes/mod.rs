//! The sandboxes behind the gateway.

pub(crate) mod record;
pub(crate) mod tokens;

use std::collections::HashMap;
use std::sync::Mutex;

use sandbox::{Client, ListFilter, Sandbox, SandboxId, SandboxInfo, SandboxState, Uid};

use self::record::Record;
use self::tokens::Tokens;

/// The label whose value is the name of the gateway that created a sandbox.
pub(crate) const GATEWAY_LABEL: &str = "gateway";

/// The sandboxes behind the gateway: found in the backend, connected to when they are first used.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    client: Client,
    name: String,
    tokens: Tokens,
    /// One handle for each instance, which keeps its connections.
    handles: Mutex<HashMap<Uid, Sandbox>>,
}

/// A sandbox as the backend describes it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// What the backend says.
    pub(crate) info: SandboxInfo,
    /// What the gateway that created it has recorded. `None` if it was created otherwise: then the API of E2B does not
    /// show it, but its ports can be reached.
    pub(crate) record: Option<Record>,
}

impl Sandboxes {
    pub(crate) fn new(client: Client, name: String, tokens: Tokens) -> Self {
        Self {
            client,
            name,
            tokens,
            handles: Mutex::default(),
        }
    }

    /// Finds a sandbox, without a request to it.
    ///
    /// # Errors
    ///
    /// [`sandbox::Error::NotFound`] if there is none, or if it has ended.
    pub(crate) async fn find(&self, id: &SandboxId) -> sandbox::Result<Found> {
        let info = self.client.get_sandbox_info(id).await?;
        Ok(self.describe(info))
    }

    /// Lists the sandboxes that this gateway, or a replica of it, has created and that have not ended.
    ///
    /// # Errors
    ///
    /// If the backend cannot list them.
    pub(crate) async fn list(&self) -> sandbox::Result<Vec<Found>> {
        let filter = ListFilter::from_labels([(GATEWAY_LABEL.to_owned(), self.name.clone())]);
        let listed = self.client.list(filter).await?;
        let alive = listed
            .into_iter()
            .filter(|info| info.state != SandboxState::Ended);
        Ok(alive
            .map(|info| self.describe(info))
            .filter(|found| found.record.is_some())
            .collect())
    }

    /// Returns a handle on a sandbox. It is connected to if no request has used it yet.
    ///
    /// # Errors
    ///
    /// [`sandbox::Error::NotFound`] if it has ended, and those of [`Client::connect`].
    pub(crate) async fn open(&self, found: &Found) -> sandbox::Result<Sandbox> {
        if let Some(handle) = lock(&self.handles).get(&found.info.uid) {
            return Ok(handle.clone());
        }
        let handle = self.client.connect(&found.info.id).await?;
        self.keep(&handle);
        if handle.uid() == &found.info.uid {
            return Ok(handle);
        }
        // The id was reused, so that the sandbox which was asked for is gone.
        Err(sandbox::Error::NotFound {
            id: found.info.id.clone(),
        })
    }

    /// Keeps a handle for later requests.
    pub(crate) fn keep(&self, handle: &Sandbox) {
        lock(&self.handles).insert(handle.uid().clone(), handle.clone());
    }

    /// Forgets the handle of an instance that has ended.
    pub(crate) fn forget(&self, uid: &Uid) {
        let forgotten = lock(&self.handles).remove(uid);
        drop(forgotten);
    }

    /// Returns the client, to create sandboxes.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the tokens that belong to sandboxes.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    fn describe(&self, info: SandboxInfo) -> Found {
        let is_ours = info.labels.get(GATEWAY_LABEL) == Some(&self.name);
        let record = if is_ours { Record::of(&info) } else { None };
        Found { info, record }
    }
}

/// Locks a mutex. A panic elsewhere cannot have left the state invalid, because each change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
