//! The size that a claimed sandbox gets, if the claim asks for another one than that of its pool.

use sandbox_core::{Error, Resources, Result, SharedPools};

use crate::pool::builder::OnEmpty;

/// Returns the cpu and memory that were set for this sandbox alone, and not for all by the settings.
pub(super) fn differing(own: &Resources, settings: &Resources) -> Option<Resources> {
    let mut size = Resources::default();
    size.cpu = own.cpu.filter(|_| own.cpu != settings.cpu);
    size.memory = own.memory.filter(|_| own.memory != settings.memory);
    (size != Resources::default()).then_some(size)
}

/// Returns the requested size if a claimed sandbox can get it. `None` if it keeps that of its pool.
pub(super) async fn check(
    pools: &dyn SharedPools,
    requested: Option<Resources>,
    on_empty: OnEmpty,
) -> Result<Option<Resources>> {
    let Some(size) = requested else {
        return Ok(None);
    };
    match pools.check_resize(&size).await {
        Ok(()) => Ok(Some(size)),
        // The size is that of a sandbox that is created, and the caller has allowed another one.
        Err(error @ Error::Unsupported(_)) if on_empty == OnEmpty::Create => {
            tracing::warn!(%error, "a sandbox that waits in the pool keeps its size");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
