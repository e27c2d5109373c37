//! Putting off the end of a sandbox.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Error, Result, SandboxId, SandboxInfo, SandboxState};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::ENDS_AFTER;
use crate::observe::status::managed_view;

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
    // Nobody's clock counts but the API server's; ours stands in where a proxy took it away.
    let now = now.unwrap_or_else(SystemTime::now);
    // Never shorter: its server does not take life back either.
    if now
        .checked_add(ttl)
        .is_some_and(|until| until <= view.ends.soft)
    {
        return Ok(view.info());
    }
    let after = labels::extended(&view.ends, view.created_at, now, ttl);
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
    shared.watch.wrote(view);
    // Whoever deleted it in between was faster.
    if ends { Err(not_found()) } else { Ok(info) }
}
