//! Extends the ttl of a sandbox.

use std::time::Duration;

use sandbox_core::{Deadline, Result, SandboxId, SandboxInfo};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::ENDS_AFTER;

/// Sets the soft end of a sandbox to `ttl` from now, unless it is later already.
pub(super) async fn extend(shared: &Shared, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
    let (view, now) = shared
        .find_running(id, Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
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
    shared.record_change(id, changed.as_ref())
}
