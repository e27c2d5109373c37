//! A filler and claimers on the fake API server.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    Claimed, KeyPair, PoolClaim, PoolMemberState, PoolName, Result, SandboxBackend, SandboxInfo,
    SharedPools,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::ApiServer;

use crate::support::{backend, spec};

pub(super) fn name() -> PoolName {
    "ci".parse().unwrap()
}

pub(super) fn pools(backend: &KubernetesBackend) -> Arc<dyn SharedPools> {
    backend.shared_pools().unwrap()
}

/// Creates a running sandbox of the pool that fills, with a client of its own, which is returned.
pub(super) async fn create_member(server: &ApiServer) -> (KubernetesBackend, SandboxInfo) {
    let filler = backend(server);
    let mut spec = spec().1;
    spec.pool = Some(name());
    spec.lifetime.ttl = None;
    let info = filler.create(spec).await.unwrap();
    server.run_pod(info.id.as_str());
    (filler, info)
}

/// Creates a sandbox that waits in the pool.
pub(super) async fn create_waiting(server: &ApiServer) -> SandboxInfo {
    let (filler, info) = create_member(server).await;
    assert!(pools(&filler).offer(&info.id, &info.uid).await.unwrap());
    info
}

pub(super) fn claim() -> PoolClaim {
    PoolClaim::new(name(), KeyPair::generate().unwrap())
}

pub(super) fn detached_claim() -> PoolClaim {
    let mut claim = claim();
    claim.is_detached = true;
    claim
}

pub(super) async fn claim_with(
    backend: &KubernetesBackend,
    claim: PoolClaim,
) -> Result<Option<Claimed>> {
    pools(backend).claim(claim).await
}

/// Claims with a new client. The client is returned as well, because its watch deletes what has ended.
pub(super) async fn claim_one(server: &ApiServer) -> Option<Claimed> {
    claim_with(&backend(server), claim()).await.unwrap()
}

pub(super) fn state(server: &ApiServer, info: &SandboxInfo) -> PoolMemberState {
    let pod = crate::support::pod(server, &info.id);
    serde_json::from_value(pod["metadata"]["labels"]["sandbox.dev/pool-state"].clone()).unwrap()
}

/// Waits until a Pod no longer exists.
pub(super) async fn wait_until_deleted(server: &ApiServer, info: &SandboxInfo) {
    let is_deleted = |server: &ApiServer| server.object("pods", info.id.as_str()).is_none();
    let wait = server.wait_until(is_deleted);
    let waited = tokio::time::timeout(Duration::from_secs(600), wait).await;
    assert!(waited.is_ok(), "{:?}", server.object_names());
}
