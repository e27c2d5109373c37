//! Removing what ended sandboxes left behind, whoever made them.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{
    Deadline, Result, SandboxId, SweepFailure, SweepOptions, SweepReport, SweptSandbox, Uid,
};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::lease;
use crate::manifest::labels;
use crate::observe::reaper;
use crate::observe::status::{PodView, managed_view};

/// A Secret without a Pod may be that of a sandbox which is being made.
const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// Looks at the API server's own list and by its clock: what is deleted was seen as it is. What cannot be removed
/// keeps nothing else from being removed.
pub(super) async fn sweep(shared: &Shared, options: SweepOptions) -> Result<SweepReport> {
    let api = shared.api();
    let selector = labels::selector();
    // The Secrets first: a sandbox that is made in between has its Pod in the second list.
    let (secrets, _) = api
        .list::<Secret>(&selector, Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
    let (pods, now) = api
        .list::<Pod>(&selector, Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
    let mut report = SweepReport::default();
    for view in pods.iter().filter_map(managed_view) {
        let Some(reason) = reaper::removal_reason(&view, now) else {
            continue;
        };
        let removed = match options.dry_run {
            true => Ok(true),
            false => remove(shared, &view, &secrets).await,
        };
        note(&mut report, &view.id, reason, removed);
    }
    let gone: HashSet<_> = report
        .removed
        .iter()
        .map(|swept| swept.id.clone())
        .collect();
    report
        .removed
        .extend(unowned(shared, &secrets, &gone, options.dry_run).await?);
    for (id, uid) in orphans(shared, &secrets, now).await? {
        if gone.contains(&id) {
            continue;
        }
        let removed = match options.dry_run {
            true => Ok(true),
            false => {
                api.delete::<Secret>(&id, &uid, None, Deadline::from_now(LOOKUP_TIMEOUT))
                    .await
            }
        };
        note(
            &mut report,
            &id,
            "its keys were left without a Pod",
            removed,
        );
    }
    Ok(report)
}

/// Removes a sandbox that is over; `false` where somebody else was faster, or has extended it, which changes its
/// version.
async fn remove(shared: &Shared, view: &PodView, secrets: &[Secret]) -> Result<bool> {
    let (api, deadline) = (shared.api(), Deadline::from_now(LOOKUP_TIMEOUT));
    if !api
        .delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline)
        .await?
    {
        return Ok(false);
    }
    shared.watch.deleting(&view.uid);
    shared.known.forget(&view.uid);
    if secrets.iter().any(|secret| is_owner(secret, view)) {
        api.delete::<Secret>(&view.id, &view.owner, None, deadline)
            .await?;
    }
    Ok(true)
}

fn note(report: &mut SweepReport, id: &SandboxId, reason: &str, removed: Result<bool>) {
    match removed {
        Ok(true) => report.removed.push(SweptSandbox {
            id: id.clone(),
            reason: reason.to_owned(),
        }),
        Ok(false) => {}
        Err(error) => report.failed.push(SweepFailure {
            id: id.clone(),
            error: error.to_string(),
        }),
    }
}

/// Secrets that no Pod calls its owner, and that have been there for long enough. A Pod that is not recognised
/// any more, because somebody changed its labels, may still run with its keys.
async fn orphans(
    shared: &Shared,
    secrets: &[Secret],
    now: Option<SystemTime>,
) -> Result<Vec<(SandboxId, Uid)>> {
    let is_old = |secret: &Secret| {
        let created = secret
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| SystemTime::from(time.0));
        created
            .and_then(|created| now?.duration_since(created).ok())
            .is_some_and(|age| age >= ORPHAN_AGE)
    };
    let mut old: Vec<_> = secrets
        .iter()
        .filter(|secret| is_old(secret))
        .filter_map(|one| labels::secret_of(one).ok())
        .collect();
    if old.is_empty() {
        return Ok(old);
    }
    let (all, _) = shared
        .api()
        .list::<Pod>("", Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
    let owners = all
        .iter()
        .flat_map(|pod| pod.metadata.owner_references.iter().flatten());
    let owners: HashSet<&str> = owners.map(|owner| owner.uid.as_str()).collect();
    old.retain(|(_, uid)| !owners.contains(uid.as_str()));
    Ok(old)
}

/// What a Pod calls its owner has to say the same of itself.
fn is_owner(secret: &Secret, view: &PodView) -> bool {
    labels::secret_of(secret).is_ok_and(|(id, uid)| id == view.id && uid == view.owner)
}

/// Those whose maker's Lease has expired. Only the Lease is deleted; Kubernetes does the rest.
async fn unowned(
    shared: &Shared,
    secrets: &[Secret],
    gone: &HashSet<SandboxId>,
    dry_run: bool,
) -> Result<Vec<SweptSandbox>> {
    let owner = |secret: &Secret| {
        let owners = secret.metadata.owner_references.iter().flatten();
        owners
            .filter(|owner| owner.kind == "Lease")
            .map(|owner| Uid::new(&*owner.uid))
            .next()
    };
    let owned: Vec<_> = secrets
        .iter()
        .filter_map(|secret| Some((labels::secret_of(secret).ok()?.0, owner(secret)?)))
        .collect();
    if shared.lease.is_none() && owned.is_empty() {
        return Ok(Vec::new());
    }
    let expired = match lease::remove_expired(shared.api(), dry_run).await {
        Ok(expired) => expired,
        Err(error) => {
            tracing::warn!(%error, "the Leases that own sandboxes cannot be looked at: they are left as they are");
            return Ok(Vec::new());
        }
    };
    let of_expired = |lease: &Uid| expired.iter().any(|(_, uid)| uid == lease);
    let ids = owned
        .into_iter()
        .filter(|(id, lease)| of_expired(lease) && !gone.contains(id))
        .map(|(id, _)| id);
    Ok(ids
        .map(|id| SweptSandbox {
            id,
            reason: "its maker is gone: the Lease has expired".to_owned(),
        })
        .collect())
}
