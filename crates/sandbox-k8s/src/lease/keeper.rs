//! Holds the Lease of this process: created with the first sandbox, and renewed by one task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
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

use super::manifest::{
    MIN_DURATION, RENEWAL_TIMEOUT, RETRY_PAUSE, build, owner_reference, renewal_period,
    to_micro_time,
};
use crate::api::client::ApiClient;
use crate::api::objects::CreateOutcome;
use crate::lock::lock;
use crate::manifest::labels;
use crate::names;

/// A Lease that was renewed within this time is not checked again, so that many creations at once need only
/// one check.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long a creation waits for the check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// Creates the Lease of this process when it is first needed, and renews it.
pub(crate) struct LeaseKeeper {
    api: Arc<ApiClient>,
    duration: Duration,
    /// The first creation creates the Lease; the others wait for it.
    current: Mutex<Option<OwnerLease>>,
}

/// A Lease of this process. All clones share its state.
#[derive(Clone)]
pub(crate) struct OwnerLease {
    state: Arc<LeaseState>,
    renewal: AbortHandle,
}

impl LeaseKeeper {
    pub(crate) fn new(api: Arc<ApiClient>, duration: Duration) -> Self {
        Self {
            api,
            duration: duration.max(MIN_DURATION),
            current: Mutex::default(),
        }
    }

    /// Returns the Lease for a new sandbox, and creates one if there is none. If the Lease has been deleted,
    /// Kubernetes would delete the sandbox at once; so a Lease that was not renewed a moment ago is renewed
    /// first.
    ///
    /// # Errors
    ///
    /// The error of the creation, which cannot succeed without the Lease.
    pub(crate) async fn acquire(
        &self,
        sandbox: &SandboxId,
        deadline: Deadline,
    ) -> Result<OwnerLease> {
        let found = self.lock_current(deadline).await?.clone();
        if let Some(lease) = &found
            && lease.state.exists().await
        {
            return Ok(lease.clone());
        }
        let mut current = self.lock_current(deadline).await?;
        // Another creation may have created the next Lease in the meantime.
        match &*current {
            Some(next) if found.is_none_or(|lost| !Arc::ptr_eq(&lost.state, &next.state)) => {
                Ok(next.clone())
            }
            _ => {
                let lease = self
                    .create(deadline)
                    .await
                    .map_err(|error| creation_error(sandbox, error))?;
                *current = Some(lease.clone());
                Ok(lease)
            }
        }
    }

    async fn lock_current(&self, deadline: Deadline) -> Result<MutexGuard<'_, Option<OwnerLease>>> {
        deadline
            .bound("waiting for the owner Lease", async {
                Ok(self.current.lock().await)
            })
            .await
    }

    async fn create(&self, deadline: Deadline) -> Result<OwnerLease> {
        let id = SandboxId::generate()?;
        let nonce = Uid::generate()?;
        let now = self.api.clock.now();
        let lease = build(
            &id,
            &self.api.namespace,
            nonce.as_str(),
            self.duration,
            now.unwrap_or_else(SystemTime::now),
        )?;
        let stored = match self
            .api
            .create(&id, &lease, nonce.as_str(), deadline)
            .await?
        {
            CreateOutcome::Stored(stored) => stored,
            CreateOutcome::NameTaken(_) => return Err(Error::AlreadyExists { id }),
        };
        let Ok((id, uid)) = labels::verify_lease(&stored) else {
            return Err(Error::Config {
                message: "the cluster changed the owner Lease so that it is no longer valid; check its admission webhooks".into(),
            });
        };
        tracing::debug!(lease = %id, "owner Lease created");
        let state = Arc::new(LeaseState {
            api: Arc::clone(&self.api),
            id,
            uid,
            lost: AtomicBool::new(false),
            renewed: StdMutex::new(Instant::now()),
            checking: Mutex::default(),
        });
        // Before the first response, only the local clock was available: renew at once by the right one.
        let renewal = tokio::spawn(
            Arc::clone(&state).keep_renewed(renewal_period(self.duration), now.is_none()),
        )
        .abort_handle();
        Ok(OwnerLease { state, renewal })
    }
}

impl OwnerLease {
    pub(crate) fn id(&self) -> &SandboxId {
        &self.state.id
    }

    pub(crate) fn owner_reference(&self) -> OwnerReference {
        owner_reference(&self.state.id, &self.state.uid)
    }
}

/// A process that exits regularly deletes its Lease; otherwise the Lease expires.
impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        let Some(lease) = self.current.get_mut().take() else {
            return;
        };
        lease.renewal.abort();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let api = Arc::clone(&self.api);
            runtime.spawn(async move {
                let deadline = Deadline::from_now(MIN_DURATION);
                let LeaseState { id, uid, .. } = &*lease.state;
                if let Err(error) = api.delete::<Lease>(id, uid, None, deadline).await {
                    tracing::debug!(lease = %id, %error, "owner Lease not deleted; it will expire");
                }
            });
        }
    }
}

/// One Lease, and whether it exists.
struct LeaseState {
    api: Arc<ApiClient>,
    id: SandboxId,
    uid: Uid,
    lost: AtomicBool,
    /// When the Lease was last known to exist.
    renewed: StdMutex<Instant>,
    /// Only one creation checks at a time; the others use its result.
    checking: Mutex<()>,
}

impl LeaseState {
    /// Whether the Lease exists. If a short check cannot tell, it is assumed to exist.
    async fn exists(&self) -> bool {
        let check = async {
            let _guard = self.checking.lock().await;
            let renewed = *lock(&self.renewed);
            if self.lost.load(Ordering::Acquire) || renewed.elapsed() < FRESH_FOR {
                return Ok(());
            }
            let now = self.api.clock.now().unwrap_or_else(SystemTime::now);
            self.renew(now, CHECK_TIMEOUT).await
        };
        if let Err(error) = Deadline::from_now(CHECK_TIMEOUT)
            .bound("renewing the owner Lease", check)
            .await
        {
            tracing::debug!(lease = %self.id, %error, "owner Lease not checked");
        }
        !self.lost.load(Ordering::Acquire)
    }

    /// Renews the Lease until it is lost.
    async fn keep_renewed(self: Arc<Self>, period: Duration, mut at_once: bool) {
        let mut failing = false;
        loop {
            if !at_once {
                tokio::time::sleep(period).await;
            }
            let now = self.api.clock.now().unwrap_or_else(SystemTime::now);
            match self.renew(now, RENEWAL_TIMEOUT).await {
                // After the computer was suspended, the time that was written is outdated.
                Ok(()) => {
                    failing = false;
                    at_once = self
                        .api
                        .clock
                        .now()
                        .is_some_and(|time| differs_by(time, now, period));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(lease = %self.id, %error, "owner Lease not renewed; retrying");
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                    at_once = true;
                }
            }
            if self.lost.load(Ordering::Acquire) {
                return;
            }
        }
    }

    /// Whether this instance of the Lease exists. A list is used because the client needs no permission to get
    /// Leases.
    async fn is_listed(&self, deadline: Deadline) -> Result<bool> {
        let id_label = [(names::ID.to_owned(), self.id.as_str().to_owned())].into();
        let (found, _) = self
            .api
            .list(
                &labels::selector_with(&id_label),
                deadline.remaining(),
                |lease: Lease| lease.metadata.uid,
            )
            .await?;
        Ok(found.iter().any(|uid| uid == self.uid.as_str()))
    }

    /// Renews the Lease, or records that it is lost.
    async fn renew(&self, now: SystemTime, timeout: Duration) -> Result<()> {
        let patch =
            json!({"metadata": {"uid": self.uid}, "spec": {"renewTime": to_micro_time(now)?}});
        let deadline = Deadline::from_now(timeout);
        let exists = match self.api.patch::<Lease>(&self.id, &patch, deadline).await {
            Ok(Some(_)) => true,
            Ok(None) if self.is_listed(deadline).await? => return Err(rejected()),
            Ok(None) | Err(Error::NotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        if exists {
            *lock(&self.renewed) = Instant::now();
        } else if !self.lost.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                lease = %self.id,
                "owner Lease deleted; Kubernetes deletes its sandboxes. The next sandbox gets a new Lease"
            );
        }
        Ok(())
    }
}

/// The error of a Lease that exists and cannot be renewed, for example because of a webhook.
fn rejected() -> Error {
    Error::Backend {
        backend: "k8s",
        operation: "renew the owner Lease",
        message: "the Lease exists, but the API server rejects its renewal".into(),
        transient: true,
        source: None,
    }
}

/// Whether two times are further apart than `limit`.
fn differs_by(a: SystemTime, b: SystemTime, limit: Duration) -> bool {
    let difference = a.duration_since(b).or_else(|_| b.duration_since(a));
    difference.is_ok_and(|difference| difference > limit)
}

fn creation_error(sandbox: &SandboxId, error: Error) -> Error {
    let (reason, message, source) = match error {
        Error::Creation(creation) => (creation.reason, creation.message, creation.source),
        other @ Error::Config { .. } => return other,
        other => (CreationReason::Other, other.to_string(), Some(other.into())),
    };
    CreationError {
        id: sandbox.clone(),
        stage: CreationStage::Provision,
        reason,
        message: format!("owner Lease: {message}"),
        events: Vec::new(),
        log_tail: String::new(),
        source,
    }
    .into()
}
