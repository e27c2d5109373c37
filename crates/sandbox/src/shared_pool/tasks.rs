//! What a filler does at the same time: each is a task that reports its result.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use sandbox_core::{
    Deadline, DeleteOptions, Error, Freshness, PoolLead, Result, SandboxId, Session, SharedPools,
    Uid,
};
use tokio::time::Instant;

use super::member::Attached;
use super::plan::{Instance, Orphan};
use crate::create::builder::SandboxBuilder;
use crate::create::isolate_error;
use crate::handle::egress::proof::prove;
use crate::parts::Parts;
use crate::pool::creation::create_when_there_is_room;
use crate::pool::waiting::Check;

/// How many waiting sandboxes are checked at once.
const CHECK_CONCURRENCY: usize = 32;
/// The pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What has been done.
pub(super) enum Done {
    /// A sandbox was created and offered, or not.
    Filled {
        id: SandboxId,
        took: Duration,
        result: Result<Attached>,
    },
    /// A sandbox of a former filler was adopted. If not, it is withdrawn.
    Adopted {
        orphan: Orphan,
        result: Result<Attached>,
    },
    /// A sandbox was offered again; `false` if it does not fill any more.
    Offered { uid: Uid, result: Result<bool> },
    /// A sandbox was withdrawn and deleted, or turned out to be claimed.
    Removed { uid: Uid },
    /// These do not answer.
    Checked { failed: Vec<Instance> },
}

/// What the tasks of one filler share while it leads.
pub(super) struct Workshop {
    pub(super) parts: Arc<Parts>,
    pub(super) pools: Arc<dyn SharedPools>,
    pub(super) lead: Arc<dyn PoolLead>,
    pub(super) template: SandboxBuilder,
    pub(super) max_age: Duration,
}

impl Workshop {
    /// Creates a sandbox and offers it. If the offer fails, the sandbox is offered again later.
    pub(super) async fn fill(
        self: Arc<Self>,
        id: SandboxId,
        on_held: impl Fn(&str) + Send + Sync + 'static,
    ) -> Done {
        let start = Instant::now();
        let mut template = self.template.clone();
        template.spec.id = Some(id.clone());
        let created = create_when_there_is_room(template, self.max_age, on_held).await;
        let took = start.elapsed();
        let result = match created {
            Ok(created) => {
                let (id, uid) = (&created.info.id, &created.info.uid);
                let is_offered = match self.offer(id, uid).await {
                    Ok(is_offered) => is_offered,
                    Err(error) => {
                        tracing::warn!(sandbox.id = %id, %error, "a sandbox of the pool is not offered yet; retrying");
                        false
                    }
                };
                Ok(Attached::new(created.access, Instant::now(), is_offered))
            }
            Err(error) => Err(error),
        };
        Done::Filled { id, took, result }
    }

    /// Connects to a sandbox of a former filler, which waits or is about to.
    pub(super) async fn adopt(self: Arc<Self>, orphan: Orphan) -> Done {
        let instance = &orphan.instance;
        let adopted = async {
            let deadline = Deadline::from_now(self.template.create_timeout);
            let access = deadline
                .bound(
                    "adopting a sandbox",
                    self.parts.backend.access(&instance.id),
                )
                .await?;
            if access.uid != instance.uid {
                return Err(Error::NotFound {
                    id: instance.id.clone(),
                });
            }
            let access = Arc::new(access);
            let sessions = &self.parts.sessions;
            let session = sessions.session(Arc::clone(&access), deadline).await?;
            // Its former filler has proved what it has offered.
            if self.template.spec.is_offline && !orphan.is_offered {
                self.prove_isolation(instance, &*session).await?;
            }
            let now = Instant::now();
            let since = now.checked_sub(orphan.age).unwrap_or(now);
            // If it cannot be claimed yet, it is offered next.
            Ok(Attached::new(access, since, orphan.is_offered))
        };
        let result = adopted.await;
        Done::Adopted { orphan, result }
    }

    /// Proves that a sandbox reaches no network.
    async fn prove_isolation(&self, instance: &Instance, session: &dyn Session) -> Result<()> {
        let backend = &self.parts.backend;
        let info = backend.get(&instance.id, Freshness::Cached).await?;
        let isolation = backend.isolate_network(&instance.id, &instance.uid).await?;
        let proved = prove(session, info.port, &isolation).await;
        proved.map_err(|unproved| isolate_error(&info, unproved, Vec::new()).into())
    }

    /// Offers a sandbox that is attached.
    pub(super) async fn offer_again(self: Arc<Self>, instance: Instance) -> Done {
        let result = self.offer(&instance.id, &instance.uid).await;
        if result.is_err() {
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Done::Offered {
            uid: instance.uid,
            result,
        }
    }

    /// Makes a sandbox unclaimable and deletes it, unless it was claimed.
    pub(super) async fn withdraw(self: Arc<Self>, instance: Instance) -> Done {
        match self.pools.withdraw(&instance.id, &instance.uid).await {
            Ok(true) => self.delete_now(&instance).await,
            Ok(false) => {
                tracing::debug!(sandbox.id = %instance.id, "claimed before it could be withdrawn");
            }
            Err(error) => {
                tracing::warn!(sandbox.id = %instance.id, %error, "cannot withdraw a sandbox from the pool; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        Done::Removed { uid: instance.uid }
    }

    /// Deletes a sandbox that nobody can claim.
    pub(super) async fn delete(self: Arc<Self>, instance: Instance) -> Done {
        self.delete_now(&instance).await;
        Done::Removed { uid: instance.uid }
    }

    /// Checks that sandboxes run, and keeps them attached.
    pub(super) async fn check(checks: Vec<Check>, timeout: Duration) -> Done {
        let failed = stream::iter(checks)
            .map(|check| async move {
                let error = check.run(timeout).await.err()?;
                tracing::info!(sandbox.id = %check.id(), %error, "replacing a waiting sandbox that does not answer");
                Some(Instance {
                    id: check.id().clone(),
                    uid: check.uid().clone(),
                })
            })
            .buffer_unordered(CHECK_CONCURRENCY)
            .filter_map(std::future::ready)
            .collect()
            .await;
        Done::Checked { failed }
    }

    /// Offers a sandbox, unless another process may fill the pool by now.
    async fn offer(&self, id: &SandboxId, uid: &Uid) -> Result<bool> {
        if !self.lead.is_held() {
            return Ok(false);
        }
        self.pools.offer(id, uid).await
    }

    async fn delete_now(&self, instance: &Instance) {
        let options = DeleteOptions::for_instance(instance.uid.clone());
        if let Err(error) = self.parts.delete(&instance.id, options).await {
            tracing::warn!(sandbox.id = %instance.id, %error, "cannot delete a sandbox of the pool; retrying");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }
}
