//! Holding a Lease: made at the first create, renewed by one task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sandbox_core::{
    CreationError, CreationReason, CreationStage, Deadline, Error, Result, SandboxId, Uid,
};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::manifest::{PAUSE, RENEW, SHORTEST, manifest, owned_by, period, renewed};
use crate::api::client::ApiClient;
use crate::api::objects::CreateOutcome;
use crate::manifest::labels;
use crate::names;

/// What was renewed so lately is there: many that are made at once need not ask for each.
const FRESH: Duration = Duration::from_secs(1);
/// And how long a sandbox that is being made waits to hear of it.
const SOON: Duration = Duration::from_secs(3);

/// Holds the Lease of this process, once it is needed.
pub(crate) struct LeaseKeeper {
    api: Arc<ApiClient>,
    lasts: Duration,
    /// Whoever comes first makes it; the others wait for it.
    held: Mutex<Option<OwnerLease>>,
}

/// A Lease that was made here.
#[derive(Clone)]
pub(crate) struct OwnerLease {
    grip: Arc<Grip>,
    renewal: AbortHandle,
}

impl LeaseKeeper {
    pub(crate) fn new(api: Arc<ApiClient>, lasts: Duration) -> Self {
        Self {
            api,
            lasts: lasts.max(SHORTEST),
            held: Mutex::default(),
        }
    }

    /// The Lease, for a sandbox that is being made. Somebody may have deleted it, and what is made
    /// for it then is taken away at once: so it is renewed first where that was not done just now.
    ///
    /// # Errors
    ///
    /// As for a creation that fails: this sandbox cannot be made without it.
    pub(crate) async fn hold(&self, sandbox: &SandboxId, deadline: Deadline) -> Result<OwnerLease> {
        let found = self.held(deadline).await?.clone();
        if let Some(held) = &found
            && held.grip.holds().await
        {
            return Ok(held.clone());
        }
        let mut held = self.held(deadline).await?;
        // Another sandbox may have made the next one meanwhile.
        match &*held {
            Some(next) if found.is_none_or(|lost| !Arc::ptr_eq(&lost.grip, &next.grip)) => {
                Ok(next.clone())
            }
            _ => {
                let made = self
                    .make(deadline)
                    .await
                    .map_err(|error| unowned(sandbox, error))?;
                *held = Some(made.clone());
                Ok(made)
            }
        }
    }

    async fn held(&self, deadline: Deadline) -> Result<MutexGuard<'_, Option<OwnerLease>>> {
        deadline
            .bound("waiting for the owner Lease", async {
                Ok(self.held.lock().await)
            })
            .await
    }

    async fn make(&self, deadline: Deadline) -> Result<OwnerLease> {
        let id = SandboxId::generate()?;
        let nonce = Uid::generate()?;
        let now = self.api.clock.now();
        let lease = manifest(
            &id,
            &self.api.namespace,
            nonce.as_str(),
            self.lasts,
            now.unwrap_or_else(SystemTime::now),
        )?;
        let stored = match self
            .api
            .create(&id, &lease, nonce.as_str(), deadline)
            .await?
        {
            CreateOutcome::Stored(stored) => stored,
            CreateOutcome::NameTaken => return Err(Error::AlreadyExists { id }),
        };
        let Ok((id, uid)) = labels::lease_of(&stored) else {
            return Err(Error::Config {
                message: "the cluster changed the Lease so that it is not ours".into(),
            });
        };
        tracing::debug!(lease = %id, "the owner Lease was made");
        let grip = Arc::new(Grip {
            api: Arc::clone(&self.api),
            id,
            uid,
            lost: AtomicBool::new(false),
            renewed: StdMutex::new(Instant::now()),
            looking: Mutex::default(),
        });
        // Before the first answer there was no clock to go by but our own.
        let renewal =
            tokio::spawn(Arc::clone(&grip).keep(period(self.lasts), now.is_none())).abort_handle();
        Ok(OwnerLease { grip, renewal })
    }
}

impl OwnerLease {
    pub(crate) fn id(&self) -> &SandboxId {
        &self.grip.id
    }

    pub(crate) fn owner(&self) -> OwnerReference {
        owned_by(&self.grip.id, &self.grip.uid)
    }
}

/// A process that ends in good order takes its Lease with it; otherwise it expires.
impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        let Some(held) = self.held.get_mut().take() else {
            return;
        };
        held.renewal.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let api = Arc::clone(&self.api);
            runtime.spawn(async move {
                let deadline = Deadline::from_now(SHORTEST);
                let Grip { id, uid, .. } = &*held.grip;
                if let Err(error) = api.delete::<Lease>(id, uid, None, deadline).await {
                    tracing::debug!(lease = %id, %error, "the owner Lease is left to expire");
                }
            });
        }
    }
}

/// One Lease, and whether it is there.
struct Grip {
    api: Arc<ApiClient>,
    id: SandboxId,
    uid: Uid,
    lost: AtomicBool,
    /// When it was known to be there.
    renewed: StdMutex<Instant>,
    /// Whoever finds out for itself, finds out for all who wait.
    looking: Mutex<()>,
}

impl Grip {
    /// Whether it is there, as far as that can be found out soon.
    async fn holds(&self) -> bool {
        let look = async {
            let _turn = self.looking.lock().await;
            let renewed = *self.renewed.lock().unwrap_or_else(PoisonError::into_inner);
            if self.lost.load(Ordering::Acquire) || renewed.elapsed() < FRESH {
                return Ok(());
            }
            let now = self.api.clock.now().unwrap_or_else(SystemTime::now);
            self.renew(now, SOON).await
        };
        if let Err(error) = Deadline::from_now(SOON)
            .bound("renewing the owner Lease", look)
            .await
        {
            tracing::debug!(lease = %self.id, %error, "whether the owner Lease is there is not known");
        }
        !self.lost.load(Ordering::Acquire)
    }

    async fn keep(self: Arc<Self>, period: Duration, mut at_once: bool) {
        let mut failing = false;
        loop {
            if !at_once {
                tokio::time::sleep(period).await;
            }
            let now = self.api.clock.now().unwrap_or_else(SystemTime::now);
            match self.renew(now, RENEW).await {
                // A machine that slept has another idea of the time than the API server.
                Ok(()) => {
                    failing = false;
                    at_once = self
                        .api
                        .clock
                        .now()
                        .is_some_and(|time| far(time, now, period));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(lease = %self.id, %error, "the owner Lease could not be renewed; it is tried on");
                    }
                    tokio::time::sleep(PAUSE).await;
                    at_once = true;
                }
            }
            if self.lost.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Whether this very Lease is there: there need be no right to get it.
    async fn is_listed(&self, deadline: Deadline) -> Result<bool> {
        let ours = [(names::ID.to_owned(), self.id.as_str().to_owned())].into();
        let (found, _) = self
            .api
            .list::<Lease>(&labels::selector_with(&ours), deadline)
            .await?;
        Ok(found
            .iter()
            .any(|lease| lease.metadata.uid.as_deref() == Some(self.uid.as_str())))
    }

    /// Renews it, or takes note that there is nothing to renew any more.
    async fn renew(&self, now: SystemTime, within: Duration) -> Result<()> {
        let patch = json!({"metadata": {"uid": self.uid}, "spec": {"renewTime": renewed(now)?}});
        let deadline = Deadline::from_now(within);
        let is_there = match self.api.patch::<Lease>(&self.id, &patch, deadline).await {
            Ok(Some(_)) => true,
            Ok(None) if self.is_listed(deadline).await? => return Err(refused()),
            Ok(None) | Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        if is_there {
            *self.renewed.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        } else if !self.lost.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                lease = %self.id,
                "the owner Lease is gone, and its sandboxes go with it; the next sandbox gets a new one"
            );
        }
        Ok(())
    }
}

/// Its renewal was refused, which may have been a webhook.
fn refused() -> Error {
    Error::Backend {
        backend: "k8s",
        operation: "renew the owner Lease",
        message: "it is there, and the API server does not let it be renewed".into(),
        transient: true,
        source: None,
    }
}

fn far(a: SystemTime, b: SystemTime, most: Duration) -> bool {
    let between = a.duration_since(b).or_else(|_| b.duration_since(a));
    between.is_ok_and(|between| between > most)
}

fn unowned(sandbox: &SandboxId, error: Error) -> Error {
    let (reason, message, source) = match error {
        Error::Creation(creation) => (creation.reason, creation.message, creation.source),
        other @ Error::Config { .. } => return other,
        other => (CreationReason::Other, other.to_string(), Some(other.into())),
    };
    CreationError {
        id: sandbox.clone(),
        stage: CreationStage::Provision,
        reason,
        message: format!("the Lease that shall own it: {message}"),
        events: Vec::new(),
        log_tail: String::new(),
        source,
    }
    .into()
}
