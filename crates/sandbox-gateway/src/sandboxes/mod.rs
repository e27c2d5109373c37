//! The sandboxes behind the gateway.

pub(crate) mod creation;
pub(crate) mod creations;
pub(crate) mod egress;
mod outage;
mod owned;
pub(crate) mod pools;
pub(crate) mod record;
mod served_egress;
pub(crate) mod tokens;

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use sandbox::{Client, ListFilter, Sandbox, SandboxId, SandboxInfo, SandboxState, Uid};

use self::egress::{EgressLimits, Servings};
use self::outage::Outage;
pub(crate) use self::owned::Owned;
use self::pools::Pools;
use self::record::Record;
pub(crate) use self::served_egress::EgressFailure;
use self::tokens::Tokens;
use crate::config::GatewayConfig;

/// The label whose value is the name of the gateway that created a sandbox.
pub(crate) const GATEWAY_LABEL: &str = "gateway";

/// The sandboxes behind the gateway: found in the backend, connected to when they are first used.
#[derive(Debug)]
pub(crate) struct Sandboxes {
    client: Client,
    name: String,
    tokens: Tokens,
    pools: Pools,
    /// The instances that were used.
    used: Mutex<HashMap<Uid, Used>>,
    outage: Outage,
    egress: EgressLimits,
    servings: Servings,
}

/// An instance that was used.
#[derive(Debug)]
struct Used {
    /// It keeps its connections.
    handle: Sandbox,
    /// What the backend said last.
    info: SandboxInfo,
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

impl Found {
    /// Returns the user of a request that names none, as the template says; `None` for that of the sandbox's server.
    pub(crate) fn default_user(&self, config: &GatewayConfig) -> Option<String> {
        let record = self.record.as_ref()?;
        let (_, template) = config.template(&record.template)?;
        template.user.clone()
    }
}

impl Sandboxes {
    pub(crate) fn new(
        client: Client,
        name: String,
        tokens: Tokens,
        pools: Pools,
        egress: EgressLimits,
    ) -> Self {
        Self {
            client,
            name,
            tokens,
            pools,
            used: Mutex::default(),
            outage: Outage::default(),
            egress,
            servings: Servings::default(),
        }
    }

    /// Finds a sandbox, without a request to it.
    ///
    /// # Errors
    ///
    /// [`sandbox::Error::NotFound`] if there is none, or if it has ended. A retryable error if the backend does not
    /// respond.
    pub(crate) async fn find(&self, id: &SandboxId) -> sandbox::Result<Found> {
        let lookup = self.client.get_sandbox_info(id);
        let info = self.limit_lookup("find the sandbox", lookup).await?;
        if let Some(used) = lock(&self.used).get_mut(&info.uid) {
            used.info.clone_from(&info);
        }
        Ok(self.describe(info))
    }

    /// Lists the sandboxes that this gateway, or a replica of it, has created and that have not ended.
    ///
    /// # Errors
    ///
    /// If the backend cannot list them. A retryable error if it does not respond.
    pub(crate) async fn list(&self) -> sandbox::Result<Vec<Owned>> {
        let filter = ListFilter::from_labels([(GATEWAY_LABEL.to_owned(), self.name.clone())]);
        let listing = self.client.list(filter);
        let listed = self.limit_lookup("list the sandboxes", listing).await?;
        let alive = listed
            .into_iter()
            .filter(|info| info.state != SandboxState::Ended);
        Ok(alive
            .filter_map(|info| {
                Some(Owned {
                    record: self.record_of(&info)?,
                    info,
                })
            })
            .collect())
    }

    /// Returns a handle on a sandbox. It is connected to if no request has used it yet.
    ///
    /// # Errors
    ///
    /// [`sandbox::Error::NotFound`] if it has ended, and those of [`Client::connect`].
    pub(crate) async fn open(&self, found: &Found) -> sandbox::Result<Sandbox> {
        let handle = self.open_instance(&found.info).await?;
        if let Some(record) = &found.record {
            self.serve_egress(&found.info, record, &handle).await;
        }
        Ok(handle)
    }

    /// The same, for a sandbox that a key owns.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub(crate) async fn open_owned(&self, owned: &Owned) -> sandbox::Result<Sandbox> {
        let handle = self.open_instance(&owned.info).await?;
        self.serve_egress(&owned.info, &owned.record, &handle).await;
        Ok(handle)
    }

    async fn open_instance(&self, info: &SandboxInfo) -> sandbox::Result<Sandbox> {
        if let Some(handle) = self.handle(&info.uid) {
            return Ok(handle);
        }
        let handle = tokio::select! {
            connected = self.client.connect(&info.id) => connected?,
            error = self.detect_absence("find the sandbox") => return Err(error),
        };
        self.keep(&handle);
        if handle.uid() == &info.uid {
            return Ok(handle);
        }
        // The id was reused, so that the sandbox which was asked for is gone.
        Err(sandbox::Error::NotFound {
            id: info.id.clone(),
        })
    }

    fn handle(&self, uid: &Uid) -> Option<Sandbox> {
        lock(&self.used).get(uid).map(|used| used.handle.clone())
    }

    /// Keeps a handle for later requests.
    pub(crate) fn keep(&self, handle: &Sandbox) {
        let used = Used {
            handle: handle.clone(),
            info: handle.info().clone(),
        };
        lock(&self.used).insert(handle.uid().clone(), used);
    }

    /// Forgets the handle of an instance that has ended.
    pub(crate) fn forget(&self, uid: &Uid) {
        let forgotten = lock(&self.used).remove(uid);
        drop(forgotten);
        self.servings.forget(uid);
    }

    /// Forgets the handles of instances that were missing before and still are. Returns those that are missing now: a list
    /// may lack one that was just created.
    ///
    /// # Errors
    ///
    /// If the backend cannot list sandboxes.
    pub(crate) async fn forget_ended(
        &self,
        missing: &HashSet<Uid>,
    ) -> sandbox::Result<HashSet<Uid>> {
        let mut opened: HashSet<Uid> = lock(&self.used).keys().cloned().collect();
        if opened.is_empty() {
            return Ok(opened);
        }
        for info in self.client.list(ListFilter::default()).await? {
            if info.state != SandboxState::Ended {
                opened.remove(&info.uid);
            }
        }
        for uid in opened.intersection(missing) {
            self.forget(uid);
        }
        Ok(opened)
    }

    /// Returns what the templates allow.
    pub(crate) fn egress_limits(&self) -> &EgressLimits {
        &self.egress
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
        Found {
            record: self.record_of(&info),
            info,
        }
    }

    fn record_of(&self, info: &SandboxInfo) -> Option<Record> {
        let is_ours = info.labels.get(GATEWAY_LABEL) == Some(&self.name);
        if is_ours { Record::of(info) } else { None }
    }
}

/// Locks a mutex. A panic elsewhere cannot have left the state invalid, because each change is one operation.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
