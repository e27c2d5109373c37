//! Removing what ended sandboxes left behind, whoever made them.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, Result, SandboxId, SweepOptions, SweepReport, Swept, Uid};

use super::Shared;
use crate::labels;
use crate::status::PodView;
use crate::watch::{ASK, of_ours};
use crate::{lease, reap};

/// A Secret without a Pod may be that of a sandbox which is being made.
const ORPHAN_AGE: Duration = Duration::from_secs(600);

/// Looks at the API server's own list and by its clock: what is deleted was seen as it is.
pub(super) async fn sweep(shared: &Shared, options: SweepOptions) -> Result<SweepReport> {
    let caller = shared.caller();
    let selector = labels::selector();
    // The Secrets first: a sandbox that is made in between has its Pod in the second list.
    let (secrets, _) = caller.list::<Secret>(&selector, Deadline::after(ASK)).await?;
    let (pods, now) = caller.list::<Pod>(&selector, Deadline::after(ASK)).await?;
    let mut report = SweepReport::default();

    let views: Vec<PodView> = pods.iter().filter_map(of_ours).collect();
    for view in &views {
        let Some(reason) = reap::over(view, now) else { continue };
        if !options.dry_run {
            let deadline = Deadline::after(ASK);
            // Whoever extends it in this moment changes its version.
            if !caller.delete::<Pod>(&view.id, &view.uid, Some(&view.resource_version), deadline).await? {
                continue;
            }
            shared.watch.deleting(&view.uid);
            shared.forget(&view.uid);
            if secrets.iter().any(|secret| is_owner(secret, view)) {
                caller.delete::<Secret>(&view.id, &view.owner, None, deadline).await?;
            }
        }
        report.removed.push(Swept { id: view.id.clone(), reason: reason.to_owned() });
    }

    let gone = report.removed.iter().map(|swept| swept.id.clone()).collect();
    report.removed.extend(unowned(shared, &secrets, gone, options.dry_run).await?);

    let owners: HashSet<_> = views.iter().map(|view| &view.owner).collect();
    for secret in &secrets {
        let Ok((id, uid)) = labels::secret_of(secret) else { continue };
        let created = secret.metadata.creation_timestamp.as_ref().map(|time| SystemTime::from(time.0));
        let age = created.and_then(|created| now?.duration_since(created).ok());
        if owners.contains(&uid) || age.is_none_or(|age| age < ORPHAN_AGE) {
            continue;
        }
        if !options.dry_run && !caller.delete::<Secret>(&id, &uid, None, Deadline::after(ASK)).await? {
            continue;
        }
        report.removed.push(Swept { id, reason: "its keys were left without a Pod".to_owned() });
    }
    Ok(report)
}

/// What a Pod calls its owner has to say the same of itself.
fn is_owner(secret: &Secret, view: &PodView) -> bool {
    labels::secret_of(secret).is_ok_and(|(id, uid)| id == view.id && uid == view.owner)
}

/// Those whose maker's Lease has expired. Only the Lease is deleted; Kubernetes does the rest.
async fn unowned(
    shared: &Shared,
    secrets: &[Secret],
    gone: HashSet<SandboxId>,
    dry_run: bool,
) -> Result<Vec<Swept>> {
    let owner = |secret: &Secret| {
        let owners = secret.metadata.owner_references.iter().flatten();
        owners.filter(|owner| owner.kind == "Lease").map(|owner| Uid::new(&*owner.uid)).next()
    };
    let owned: Vec<_> = secrets
        .iter()
        .filter_map(|secret| Some((labels::secret_of(secret).ok()?.0, owner(secret)?)))
        .collect();
    if shared.lease.is_none() && owned.is_empty() {
        return Ok(Vec::new());
    }
    let expired = match lease::remove_expired(shared.caller(), dry_run).await {
        Ok(expired) => expired,
        Err(error) => {
            tracing::warn!(%error, "the Leases that own sandboxes cannot be looked at: they are left as they are");
            return Ok(Vec::new());
        }
    };
    let of_expired = |lease: &Uid| expired.iter().any(|(_, uid)| uid == lease);
    let ids =
        owned.into_iter().filter(|(id, lease)| of_expired(lease) && !gone.contains(id)).map(|(id, _)| id);
    Ok(ids.map(|id| Swept { id, reason: "its maker is gone: the Lease has expired".to_owned() }).collect())
}
