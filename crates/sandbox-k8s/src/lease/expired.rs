//! Leases whose holders are gone.

use std::time::SystemTime;

use k8s_openapi::api::coordination::v1::Lease;
use sandbox_core::{Deadline, Result, SandboxId, Uid};

use super::held_until;
use crate::call::Caller;
use crate::labels;
use crate::watch::ASK;

/// Deletes what has expired, or with `dry_run` only tells. Nobody's clock but the API server's
/// counts, and whoever renews it in this moment is faster.
pub(crate) async fn remove_expired(caller: &Caller, dry_run: bool) -> Result<Vec<(SandboxId, Uid)>> {
    let (leases, now) = caller.list::<Lease>(&labels::selector(), Deadline::after(ASK)).await?;
    let mut removed = Vec::new();
    for lease in &leases {
        let Some((id, uid)) = expired(lease, now) else { continue };
        let version = lease.metadata.resource_version.as_deref();
        if dry_run || caller.delete::<Lease>(&id, &uid, version, Deadline::after(ASK)).await? {
            tracing::debug!(lease = %id, dry_run, "an owner Lease has expired");
            removed.push((id, uid));
        }
    }
    Ok(removed)
}

fn expired(lease: &Lease, now: Option<SystemTime>) -> Option<(SandboxId, Uid)> {
    let (id, uid, until) = held_until(lease)?;
    (now? > until).then_some((id, uid))
}
