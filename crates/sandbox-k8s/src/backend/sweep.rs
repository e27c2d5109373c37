//! Deletes what ended sandboxes left behind, no matter which client created them.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{
    Deadline, Result, SandboxId, SweepFailure, SweepOptions, SweepReport, SweptSandbox, Uid,
};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::lease;
use crate::manifest::labels::{self, SecretRef};
use crate::observe::status::{PodView, managed_view};
use crate::observe::sweeper;

/// A younger Secret without a Pod may belong to a sandbox that is being created.
const MIN_ORPHAN_AGE: Duration = Duration::from_secs(600);

/// Deletes expired sandboxes, Secrets without Pods, and expired Leases. It reads fresh lists and uses the API
/// server's clock. An object that cannot be deleted does not prevent the deletion of others.
pub(super) async fn sweep(shared: &Shared, options: SweepOptions) -> Result<SweepReport> {
    let api = shared.api();
    let selector = labels::selector();
    // Of Secrets only the metadata is read, so that no keys get into the memory of this process. They come first:
    // a sandbox that is created in between has its Pod in the second list.
    let (secrets, _) = api
        .list_metadata::<Secret>(&selector, LOOKUP_TIMEOUT)
        .await?;
    let (views, now) = api
        .list(&selector, LOOKUP_TIMEOUT, |pod: Pod| managed_view(&pod))
        .await?;
    let verified: HashSet<_> = secrets
        .iter()
        .filter_map(|secret| labels::verify_secret(secret).ok())
        .collect();
    let mut report = SweepReport::default();
    for view in views {
        let Some(reason) = sweeper::removal_reason(&view, now) else {
            continue;
        };
        let removed = if options.dry_run {
            Ok(true)
        } else {
            delete_sandbox(shared, &view, &verified).await
        };
        record(&mut report, &view.id, reason, removed);
    }
    let swept: HashSet<_> = report
        .removed
        .iter()
        .map(|sandbox| sandbox.id.clone())
        .collect();
    report
        .removed
        .extend(sweep_leases(shared, &secrets, &swept, options.dry_run).await?);
    for SecretRef { name, uid } in find_orphans(shared, &secrets, now).await? {
        if swept.contains(name.id()) {
            continue;
        }
        let removed = if options.dry_run {
            Ok(true)
        } else {
            api.delete::<Secret>(&name, &uid, None, Deadline::from_now(LOOKUP_TIMEOUT))
                .await
        };
        record(&mut report, name.id(), "its Secret has no Pod", removed);
    }
    Ok(report)
}

/// Deletes an ended or expired sandbox. Returns `false` if another client was faster, or has extended the sandbox,
/// which changes its version.
///
/// The Secret that the Pod names as its owner is deleted only if it is one of `secrets`, which say so themselves.
async fn delete_sandbox(
    shared: &Shared,
    view: &PodView,
    secrets: &HashSet<SecretRef>,
) -> Result<bool> {
    let api = shared.api();
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    if !api
        .delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline)
        .await?
    {
        return Ok(false);
    }
    shared.watch.record_deletion(&view.uid);
    shared.records.remove(&view.uid);
    if secrets.contains(&view.owner) {
        let SecretRef { name, uid } = &view.owner;
        api.delete::<Secret>(name, uid, None, deadline).await?;
    }
    Ok(true)
}

fn record(report: &mut SweepReport, id: &SandboxId, reason: &str, removed: Result<bool>) {
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

/// Returns the old Secrets that belong to no Pod: they neither own one, nor does one own them, as it does that of its
/// claim. All Pods of the namespace count, also those whose labels were changed: they may still run with the keys.
async fn find_orphans(
    shared: &Shared,
    secrets: &[ObjectMeta],
    now: Option<SystemTime>,
) -> Result<Vec<SecretRef>> {
    let is_old = |secret: &ObjectMeta| {
        labels::creation_time(secret)
            .and_then(|created| now?.duration_since(created).ok())
            .is_some_and(|age| age >= MIN_ORPHAN_AGE)
    };
    let old: Vec<_> = secrets
        .iter()
        .filter(|secret| is_old(secret))
        .filter_map(|one| Some((labels::verify_secret(one).ok()?, labels::owning_pod(one))))
        .collect();
    if old.is_empty() {
        return Ok(Vec::new());
    }
    let (all, _) = shared
        .api()
        .list_metadata::<Pod>("", LOOKUP_TIMEOUT)
        .await?;
    let owners = all
        .iter()
        .flat_map(|pod| pod.owner_references.iter().flatten());
    let owners: HashSet<&str> = owners.map(|owner| owner.uid.as_str()).collect();
    let pods: HashSet<&str> = all.iter().filter_map(|pod| pod.uid.as_deref()).collect();
    let orphans = old.into_iter().filter(|(secret, pod)| match pod {
        Some(pod) => !pods.contains(pod.as_str()),
        None => !owners.contains(secret.uid.as_str()),
    });
    Ok(orphans.map(|(secret, _)| secret).collect())
}

/// Deletes expired Leases, and returns the sandboxes that Kubernetes deletes with them.
async fn sweep_leases(
    shared: &Shared,
    secrets: &[ObjectMeta],
    swept: &HashSet<SandboxId>,
    dry_run: bool,
) -> Result<Vec<SweptSandbox>> {
    let owner = |secret: &ObjectMeta| {
        let owners = secret.owner_references.iter().flatten();
        owners
            .filter(|owner| owner.kind == "Lease")
            .map(|owner| Uid::new(&*owner.uid))
            .next()
    };
    let owned: Vec<_> = secrets
        .iter()
        .filter_map(|secret| {
            let verified = labels::verify_secret(secret).ok()?;
            Some((verified.name.id().clone(), owner(secret)?))
        })
        .collect();
    if shared.lease_keeper.is_none() && owned.is_empty() {
        return Ok(Vec::new());
    }
    let expired = match lease::remove_expired(shared.api(), dry_run).await {
        Ok(expired) => expired,
        Err(error) => {
            tracing::warn!(%error, "owner Leases cannot be listed; not swept");
            return Ok(Vec::new());
        }
    };
    let expired: HashSet<_> = expired.into_iter().map(|(_, uid)| uid).collect();
    let ids = owned
        .into_iter()
        .filter(|(id, lease)| expired.contains(lease) && !swept.contains(id))
        .map(|(id, _)| id);
    Ok(ids
        .map(|id| SweptSandbox {
            id,
            reason: "its client no longer exists: the owner Lease has expired".to_owned(),
        })
        .collect())
}
