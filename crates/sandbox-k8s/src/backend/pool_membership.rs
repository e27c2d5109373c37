//! The shared pool that a sandbox is created for.

use sandbox_core::{Error, PoolKey, Result, SandboxSpec};

use super::shared::Shared;
use crate::manifest::labels::PoolRef;
use crate::manifest::options::PodOptions;
use crate::manifest::pod;
use crate::names::BACKEND;

/// Takes the pool from a specification, and finds out the key of its sandboxes.
pub(super) async fn find_pool(shared: &Shared, spec: &mut SandboxSpec) -> Result<Option<PoolRef>> {
    let Some(name) = spec.pool.take() else {
        return Ok(None);
    };
    check_member(shared, spec)?;
    let key = compute_key(shared, spec).await?;
    Ok(Some(PoolRef { name, key }))
}

/// Computes the key of a pool. A server that is uploaded may have to be read from a file first.
pub(super) async fn compute_key(shared: &Shared, spec: &SandboxSpec) -> Result<PoolKey> {
    let (options, spec) = (shared.options.clone(), spec.clone());
    let compute = move || pod::pool_key(&spec, &options, &PodOptions::from_spec(&spec)?);
    let computed = tokio::task::spawn_blocking(compute).await;
    computed.map_err(|source| Error::Backend {
        backend: BACKEND,
        operation: "hash the specification of a pool",
        message: "the runtime has ended".into(),
        transient: false,
        source: Some(Box::new(source)),
    })?
}

/// Checks what a sandbox of a shared pool has to be.
fn check_member(shared: &Shared, spec: &SandboxSpec) -> Result<()> {
    if shared.uses_image_server() {
        return Err(Error::unsupported_because(
            "a shared pool",
            "an image's own SSH server",
            "it cannot hand a sandbox over to another key",
            "inject sandbox-sshd (SANDBOX_INJECTION)",
        ));
    }
    if spec.lifetime.attach_timeout.is_none() {
        return Err(Error::invalid(
            "attach_timeout",
            "none",
            "a sandbox that waits in a shared pool is attached, so that it ends with the process that fills the pool; \
             the claim decides whether it outlives its client",
        ));
    }
    Ok(())
}
