//! Leases whose holders are gone.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use sandbox_core::{Deadline, Result, SandboxId, Uid};

use super::held_until;
use crate::call::Caller;
use crate::labels;
use crate::watch::ASK;

/// Holders whose API server was away renew within this time of its coming back.
const AGAIN: Duration = Duration::from_secs(15);

/// Deletes what has expired, or with `dry_run` only tells. Nobody's clock but the API server's
/// counts. It is looked at twice: while the API server was away, nobody could renew anything. And
/// whoever renews it in the very moment is faster.
pub(crate) async fn remove_expired(caller: &Caller, dry_run: bool) -> Result<Vec<(SandboxId, Uid)>> {
    let first = look(caller).await?;
    if first.is_empty() || dry_run {
        return Ok(first.into_iter().map(|expired| (expired.id, expired.uid)).collect());
    }
    tokio::time::sleep(AGAIN).await;
    let mut removed = Vec::new();
    for expired in look(caller).await?.into_iter().filter(|expired| first.contains(expired)) {
        let (id, uid, version) = (&expired.id, &expired.uid, Some(&*expired.version));
        if caller.delete::<Lease>(id, uid, version, Deadline::after(ASK)).await? {
            tracing::debug!(lease = %id, "an owner Lease has expired");
            removed.push((expired.id, expired.uid));
        }
    }
    Ok(removed)
}

/// A Lease that nobody holds any more, as it was seen.
#[derive(PartialEq, Eq)]
struct Expired {
    id: SandboxId,
    uid: Uid,
    version: String,
}

async fn look(caller: &Caller) -> Result<Vec<Expired>> {
    let (leases, now) = caller.list::<Lease>(&labels::selector(), Deadline::after(ASK)).await?;
    Ok(leases.iter().filter_map(|lease| expired(lease, now)).collect())
}

fn expired(lease: &Lease, now: Option<SystemTime>) -> Option<Expired> {
    let (id, uid, until) = held_until(lease)?;
    let version = lease.metadata.resource_version.clone()?;
    (now? > until).then_some(Expired { id, uid, version })
}
