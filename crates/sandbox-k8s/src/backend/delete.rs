//! Deletes a sandbox: its Pod and its Secret at the same time, each by its uid.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, DeleteOptions, Error, Result, SandboxId, Uid};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;

/// How long the deletion of a Pod may take. Its processes get one second, but the kubelet may report late.
const DELETION_TIMEOUT: Duration = Duration::from_secs(90);

/// How long the watch may be silent before the Pod is read instead.
const WATCH_SILENCE: Duration = Duration::from_secs(15);

/// Deletes a sandbox, and waits until its Pod no longer exists if the options say so.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    id: &SandboxId,
    options: DeleteOptions,
) -> Result<()> {
    // Find out which instances to delete.
    let found = shared
        .watch
        .find(id)
        .await
        .map_err(|error| deletion_error(id, error))?;
    let is_requested = |uid: &Uid| {
        options
            .uid
            .as_ref()
            .is_none_or(|requested| requested == uid)
    };
    let (pod, secret) = match found.filter(|view| is_requested(&view.uid)) {
        Some(view) => (Some(view.uid.clone()), Some(view.owner.clone())),
        // Another client has deleted the Pod; its Secret may still exist.
        None => match shared.records.find(id).filter(|(uid, _)| is_requested(uid)) {
            Some((uid, record)) => (Some(uid), Some(record.owner)),
            None if options.uid.is_some() => return Ok(()),
            // Another process may have created the sandbox a moment ago.
            None => match shared
                .watch
                .fetch(id)
                .await
                .map_err(|error| deletion_error(id, error))?
            {
                Some(view) => (Some(view.uid.clone()), Some(view.owner.clone())),
                None => (None, find_orphaned_secret(shared, id).await?),
            },
        },
    };
    // Delete both objects.
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let api = shared.api();
    let follow = pod.as_ref().map(|uid| shared.watch.follow(id, uid));
    let delete_pod = async {
        let Some(uid) = &pod else { return Ok(()) };
        if api.delete::<Pod>(id, uid, None, deadline).await? {
            shared.watch.record_deletion(uid);
        } else {
            shared.watch.record_absence(uid);
        }
        Ok(())
    };
    let delete_secret = async {
        let Some(owner) = &secret else { return Ok(()) };
        match pod.as_ref().and_then(|uid| shared.records.get(uid)) {
            Some(record) if record.owner == *owner => api
                .delete::<Secret>(id, owner, None, deadline)
                .await
                .map(|_| ()),
            _ => api.delete_key_secret(id, owner, deadline).await,
        }
    };
    let (pod_result, secret_result) = tokio::join!(delete_pod, delete_secret);
    pod_result
        .and(secret_result)
        .map_err(|error| deletion_error(id, error))?;
    if let Some(uid) = &pod {
        shared.records.remove(uid);
    }
    // Wait until the Pod no longer exists.
    let Some(follow) = follow.filter(|_| options.wait) else {
        return Ok(());
    };
    let deleted = async {
        let mut last = None;
        loop {
            match tokio::time::timeout(WATCH_SILENCE, follow.next(last.as_ref())).await {
                Ok(Ok(Some(view))) => last = Some(view),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) if shared.watch.received_within(WATCH_SILENCE) => {}
                // The watch may be late.
                Err(_elapsed) => match shared.watch.fetch(id).await? {
                    Some(view) if Some(&view.uid) == pod.as_ref() => {}
                    _ => {
                        pod.iter().for_each(|uid| shared.watch.record_absence(uid));
                        return Ok(());
                    }
                },
            }
        }
    };
    Deadline::from_now(DELETION_TIMEOUT)
        .bound("the deletion of the Pod", deleted)
        .await
        .map_err(|error| deletion_error(id, error))
}

/// Returns the uid of the Secret of a sandbox that has no Pod.
async fn find_orphaned_secret(shared: &Shared, id: &SandboxId) -> Result<Option<Uid>> {
    let found = shared
        .api()
        .get::<Secret>(id, Deadline::from_now(LOOKUP_TIMEOUT))
        .await;
    let found = found.map_err(|error| deletion_error(id, error))?;
    let secret = found.and_then(|(secret, _)| labels::verify_secret(&secret).ok());
    Ok(secret.filter(|(found, _)| found == id).map(|(_, uid)| uid))
}

fn deletion_error(id: &SandboxId, error: Error) -> Error {
    match error {
        Error::Deletion { .. } | Error::Config { .. } => error,
        other => Error::Deletion {
            id: id.clone(),
            message: other.to_string(),
            source: Some(Box::new(other)),
        },
    }
}
