//! Pools that several processes share, on the cluster.

mod claim;
mod claimed;
mod lead;
mod leases;
mod members;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sandbox_core::{
    Claimed, PoolClaim, PoolKey, PoolLead, PoolLeader, PoolName, Resized, Resources, Result,
    SandboxId, SandboxInfo, SandboxSpec, SharedPools, Uid,
};

use super::pool_membership;
use super::resizing;
use super::shared::Shared;

/// The shared pools of a backend.
pub(super) struct ClusterPools {
    pub(super) shared: Arc<Shared>,
}

#[async_trait]
impl SharedPools for ClusterPools {
    async fn key(&self, spec: &SandboxSpec) -> Result<PoolKey> {
        pool_membership::compute_key(&self.shared, spec).await
    }

    async fn offer(&self, id: &SandboxId, uid: &Uid) -> Result<bool> {
        members::offer(&self.shared, id, uid).await
    }

    async fn withdraw(&self, id: &SandboxId, uid: &Uid) -> Result<bool> {
        members::withdraw(&self.shared, id, uid).await
    }

    async fn members(&self, name: Option<PoolName>) -> Result<Vec<SandboxInfo>> {
        members::list(&self.shared, name.as_ref()).await
    }

    async fn wait_for_change(&self, since: u64) -> u64 {
        self.shared.watch.wait_for_pool_change(since).await
    }

    async fn claim(&self, claim: PoolClaim) -> Result<Option<Claimed>> {
        claim::claim(&self.shared, claim).await
    }

    async fn check_resize(&self, size: &Resources) -> Result<()> {
        resizing::check(&self.shared, size).await
    }

    async fn resize(&self, id: &SandboxId, uid: &Uid, size: &Resources) -> Result<Resized> {
        resizing::resize(&self.shared, id, uid, size).await
    }

    async fn store_claim_key(&self, id: &SandboxId, uid: &Uid) -> Result<()> {
        claimed::store_key(&self.shared, id, uid).await
    }

    async fn lead(&self, name: &PoolName, key: &PoolKey) -> Result<Box<dyn PoolLead>> {
        lead::lead(&self.shared.watch.api, name, key).await
    }

    async fn leaders(&self) -> Result<Vec<PoolLeader>> {
        leases::list_leaders(self.shared.api()).await
    }

    async fn remove(&self, name: &PoolName) -> Result<bool> {
        leases::remove(self.shared.api(), name).await
    }
}

impl fmt::Debug for ClusterPools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterPools")
            .field("namespace", &self.shared.api().namespace)
            .finish_non_exhaustive()
    }
}
