//! Extends the ttl of a sandbox.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, Result, SandboxId, SandboxInfo, SandboxState};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::ENDS_AFTER;
use crate::observe::status::managed_view;

/// Sets the soft end of a sandbox to `ttl` from now, unless it is later already.
pub(super) async fn extend(shared: &Shared, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
    let not_found = || Error::NotFound { id: id.clone() };
    let found = shared
        .api()
        .get::<Pod>(id, Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
    let (pod, now) = found.ok_or_else(not_found)?;
    let view = managed_view(&pod)
        .filter(|view| view.state != SandboxState::Ended)
        .ok_or_else(not_found)?;
    // Ends are compared with the API server's clock. The local one is used only if a proxy removed the header `Date`.
    let now = now.unwrap_or_else(SystemTime::now);
    // The end is never moved to an earlier time: the server does not do that either.
    if now
        .checked_add(ttl)
        .is_some_and(|until| until <= view.ends.soft)
    {
        return Ok(view.info());
    }
    let after = labels::extended_ends_after(&view.ends, view.created_at, now, ttl);
    let changed = shared
        .api()
        .annotate(
            id,
            &view.uid,
            (ENDS_AFTER, &after),
            Deadline::from_now(LOOKUP_TIMEOUT),
        )
        .await?;
    let view = changed
        .and_then(|pod| managed_view(&pod))
        .ok_or_else(not_found)?;
    let info = view.info();
    let ends = view.state == SandboxState::Ended;
    shared.watch.record_write(view);
    // Another client may have deleted the sandbox in the meantime.
    if ends { Err(not_found()) } else { Ok(info) }
}
