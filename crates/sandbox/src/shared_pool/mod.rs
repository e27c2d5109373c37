//! Pools that several processes share: one process fills a pool, and any other claims from it.
//!
//! The backend decides whose a sandbox is ([`SharedPools`](sandbox_core::SharedPools)). `claim` and
//! `hand_over` are the claimer's side; `builder`, `filler`, `term`
//! and `plan` the filler's.

pub(crate) mod admin;
pub(crate) mod builder;
pub(crate) mod claim;
mod claim_ttl;
mod filler;
mod hand_over;
mod member;
mod plan;
mod size;
pub(crate) mod status;
mod tasks;
mod term;

use std::fmt;
use std::sync::Arc;

use sandbox_core::{Error, PoolName, Result, SharedPools};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::status::FillerStatus;
use crate::parts::Parts;

/// The filler of a pool that processes share: it creates sandboxes, keeps them attached and offers them,
/// and any process claims them with [`SandboxBuilder::from_pool`](crate::SandboxBuilder::from_pool).
///
/// Of several fillers with the same name one is elected and fills; the others stand by. If the filler ends,
/// even by `kill -9`, another one adopts the sandboxes that wait. If there is none, each ends by itself
/// after the attach timeout of a minute. What was claimed belongs to its claimer and is never touched.
///
/// Dropping the filler stops it in the background; [`stop`](Self::stop) waits until it has stopped.
///
/// ```no_run
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// let sandboxes = client.sandbox().image("python:3.12-slim").memory("512Mi");
/// let filler = client.shared_pool("ci", sandboxes).sizes(2..=20).start().await?;
/// tokio::signal::ctrl_c().await.ok();
/// filler.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct SharedPool {
    name: PoolName,
    status: watch::Receiver<FillerStatus>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl SharedPool {
    /// Returns the name of the pool.
    pub fn name(&self) -> &PoolName {
        &self.name
    }

    /// Returns the current state of this filler.
    pub fn status(&self) -> FillerStatus {
        self.status.borrow().clone()
    }

    /// Returns a receiver of the filler's state, which sees every change that it is fast enough for.
    pub fn changes(&self) -> watch::Receiver<FillerStatus> {
        self.status.clone()
    }

    /// Waits until this filler is the elected one and as many sandboxes wait as it wants. It does not end
    /// while creations fail: use a timeout, or look at [`FillerStatus::problem`] of
    /// [`changes`](Self::changes).
    pub async fn filled(&self) {
        let mut changes = self.changes();
        // It fails only if the filler has ended.
        let _filled = changes
            .wait_for(|status| {
                status.is_stopped || (status.is_leading && status.waiting >= status.target)
            })
            .await;
    }

    /// Stops the filler. What waits stays, for another filler or for claimers, until the attach timeout.
    /// What is just being created is cancelled and deleted.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Err(error) = (&mut self.task).await {
            tracing::warn!(pool = %self.name, %error, "the filler of a pool has failed");
        }
    }
}

impl Drop for SharedPool {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedPool")
            .field("name", &self.name)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// Returns the backend's shared pools.
pub(crate) fn pools_of(parts: &Parts) -> Result<Arc<dyn SharedPools>> {
    parts.backend.shared_pools().ok_or_else(|| {
        Error::unsupported(
            "pools that processes share",
            format!("the backend {}", parts.backend.name()),
            "use the Kubernetes backend (SANDBOX_BACKEND=k8s), or a pool of the program's own (client.pool)",
        )
    })
}
