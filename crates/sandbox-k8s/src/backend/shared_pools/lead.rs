//! Holds the Lease of a pool: waits for it, renews it, and notices when it is lost.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use sandbox_core::{PoolKey, PoolLead, PoolName, Result, SandboxId};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::leases;
use crate::api::client::ApiClient;
use crate::api::pool_lease::PoolLeaseKey;
use crate::lock::lock;
use crate::pool::election::{Candidacy, Move, RENEWAL_PERIOD, Tenure};

/// The pause after a request that failed, or that another process got in the way of.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Waits until this process holds the Lease of the pool.
pub(super) async fn lead(
    api: &Arc<ApiClient>,
    name: &PoolName,
    key: &PoolKey,
) -> Result<Box<dyn PoolLead>> {
    let lease = PoolLeaseKey::new(name)?;
    let holder = holder_identity()?;
    let mut candidacy = Candidacy::new(holder.clone());
    let mut is_failing = false;
    loop {
        match try_once(api, &lease, key, &holder, &mut candidacy).await {
            Ok(Attempt::Holds(tenure)) => {
                tracing::info!(pool = %name, holder, "this process fills the pool");
                return Ok(Box::new(HeldLease::new(api, lease, holder, tenure)));
            }
            Ok(Attempt::Wait(pause)) => {
                is_failing = false;
                tokio::time::sleep(pause).await;
            }
            Err(error) if error.is_retryable() => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(pool = %name, %error, "Lease of the pool not read or written; retrying");
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

enum Attempt {
    Holds(Tenure),
    Wait(Duration),
}

async fn try_once(
    api: &ApiClient,
    lease: &PoolLeaseKey,
    key: &PoolKey,
    holder: &str,
    candidacy: &mut Candidacy,
) -> Result<Attempt> {
    let found = leases::read(api, lease).await?;
    let sent_at = now();
    let is_written = match candidacy.next_move(found.as_ref(), sent_at) {
        Move::Wait(pause) => return Ok(Attempt::Wait(pause)),
        Move::Create => leases::create(api, lease, key, holder).await?,
        Move::TakeOver { version } => leases::take_over(api, lease, key, holder, &version).await?,
    };
    Ok(if is_written {
        Attempt::Holds(Tenure::from_write(sent_at))
    } else {
        Attempt::Wait(RETRY_PAUSE)
    })
}

/// The Lease of a pool, while this process holds it.
#[derive(Debug)]
struct HeldLease {
    state: Arc<HeldState>,
    renewal: AbortHandle,
}

struct HeldState {
    api: Arc<ApiClient>,
    lease: PoolLeaseKey,
    holder: String,
    tenure: Mutex<Tenure>,
    is_lost: watch::Sender<bool>,
}

impl HeldLease {
    fn new(api: &Arc<ApiClient>, lease: PoolLeaseKey, holder: String, tenure: Tenure) -> Self {
        let state = Arc::new(HeldState {
            api: Arc::clone(api),
            lease,
            holder,
            tenure: Mutex::new(tenure),
            is_lost: watch::Sender::new(false),
        });
        let renewal = tokio::spawn(Arc::clone(&state).keep_renewed()).abort_handle();
        Self { state, renewal }
    }
}

#[async_trait]
impl PoolLead for HeldLease {
    fn is_held(&self) -> bool {
        !*self.state.is_lost.borrow() && !self.state.remaining().is_zero()
    }

    async fn wait_until_lost(&self) {
        let mut lost = self.state.is_lost.subscribe();
        // The sender lives as long as this Lease.
        while !*lost.borrow_and_update() && lost.changed().await.is_ok() {}
    }

    async fn release(&self) -> Result<()> {
        self.renewal.abort();
        self.state.is_lost.send_replace(true);
        leases::release(&self.state.api, &self.state.lease, &self.state.holder).await
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl HeldState {
    /// Renews the Lease until it is lost.
    async fn keep_renewed(self: Arc<Self>) {
        let mut pause = RENEWAL_PERIOD;
        loop {
            let remaining = self.remaining();
            if remaining.is_zero() {
                break;
            }
            tokio::time::sleep(pause.min(remaining)).await;
            let sent_at = now();
            let renewed = leases::renew(&self.api, &self.lease, &self.holder);
            match tokio::time::timeout(self.remaining(), renewed).await {
                Ok(Ok(true)) => {
                    *lock(&self.tenure) = Tenure::from_write(sent_at);
                    pause = RENEWAL_PERIOD;
                }
                Ok(Ok(false)) | Err(_) => break,
                Ok(Err(error)) => {
                    if pause == RENEWAL_PERIOD {
                        tracing::warn!(pool = %self.lease.pool, %error, "Lease of the pool not renewed; retrying");
                    }
                    pause = RETRY_PAUSE;
                }
            }
        }
        tracing::warn!(pool = %self.lease.pool, "Lease of the pool lost; another process fills it");
        self.is_lost.send_replace(true);
    }

    fn remaining(&self) -> Duration {
        lock(&self.tenure).remaining(now())
    }
}

impl std::fmt::Debug for HeldState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeldState")
            .field("pool", &self.lease.pool)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Returns a name for this process: its host, for people, and a random word, which makes it unique.
fn holder_identity() -> Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
        .take(64)
        .collect();
    let word = SandboxId::generate()?;
    let word = word.as_str().trim_start_matches("sbx-");
    Ok(match host.as_str() {
        "" => word.to_owned(),
        host => format!("{host}-{word}"),
    })
}

/// Returns the time by tokio's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
