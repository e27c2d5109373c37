//! Secrets of former instances of an id, whose Pods were deleted by others: a drained node, `kubectl delete`.
//!
//! They do not keep the id from being used again, because each creation has a Secret with a name of its own. They
//! still hold keys, so they are deleted at the next opportunity. An account that may not list Secrets leaves them to
//! a sweep.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Deadline, Result, SandboxId};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::failure::{Failure, FailureCause};
use crate::manifest::labels::{self, SecretRef};

/// Deletes the Secrets of an id that has no Pod.
pub(super) async fn delete_all(shared: &Shared, id: &SandboxId) -> Result<()> {
    for meta in list(shared, id).await? {
        if let Some(secret) = verify(&meta, id)
            && delete(shared, &secret).await?
        {
            tracing::warn!(
                sandbox.id = %id, secret = %secret.name,
                "the Pod of this sandbox was deleted by others; its keys are deleted now"
            );
        }
    }
    Ok(())
}

/// Deletes the Secrets of an id that are older than that of the Pod that has the id now. As long as that Pod exists,
/// no other creation can get the id, so no older Secret can come into use any more.
pub(super) async fn delete_former(
    shared: &Shared,
    current: &SecretRef,
    created_at: SystemTime,
) -> Result<()> {
    let id = current.name.id();
    for meta in list(shared, id).await? {
        let is_older = labels::creation_time(&meta).is_some_and(|time| time < created_at);
        if let Some(secret) = verify(&meta, id).filter(|secret| is_older && secret != current)
            && delete(shared, &secret).await?
        {
            tracing::debug!(sandbox.id = %id, secret = %secret.name, "keys of a former sandbox deleted");
        }
    }
    Ok(())
}

async fn list(shared: &Shared, id: &SandboxId) -> Result<Vec<ObjectMeta>> {
    if shared.may_not_list_secrets.load(Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let listed = shared
        .api()
        .list_metadata::<Secret>(&labels::selector_of(id), LOOKUP_TIMEOUT)
        .await;
    match listed {
        Ok((found, _)) => Ok(found),
        Err(Failure {
            error,
            cause: FailureCause::NoPermission,
        }) => {
            tracing::debug!(%error, "Secrets cannot be listed; left to a sweep");
            shared.may_not_list_secrets.store(true, Ordering::Relaxed);
            Ok(Vec::new())
        }
        Err(failure) => Err(failure.error),
    }
}

fn verify(meta: &ObjectMeta, id: &SandboxId) -> Option<SecretRef> {
    labels::verify_secret(meta)
        .ok()
        .filter(|secret| secret.name.id() == id)
}

async fn delete(shared: &Shared, secret: &SecretRef) -> Result<bool> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    shared
        .api()
        .delete::<Secret>(&secret.name, &secret.uid, None, deadline)
        .await
}
