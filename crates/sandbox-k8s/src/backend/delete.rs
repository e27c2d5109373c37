//! Taking a sandbox away: its Pod and its Secret at once, exactly these.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, DeleteOptions, Error, Result, SandboxId, Uid};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;

/// How long a Pod may take to go: its processes get one second, and its machine may be slow to
/// say so.
const GONE: Duration = Duration::from_secs(90);

/// A watch that says nothing at all for so long is not waited for.
const QUIET: Duration = Duration::from_secs(15);

pub(super) async fn delete(
    shared: &Arc<Shared>,
    id: &SandboxId,
    options: DeleteOptions,
) -> Result<()> {
    let found = shared
        .watch
        .find(id)
        .await
        .map_err(|error| undeleted(id, error))?;
    let wanted = |uid: &Uid| options.uid.as_ref().is_none_or(|wanted| wanted == uid);
    let (pod, secret) = match found.filter(|view| wanted(&view.uid)) {
        Some(view) => (Some(view.uid.clone()), Some(view.owner.clone())),
        // Somebody else has deleted the Pod: what we know of it may still be there.
        None => match shared.known.of(id).filter(|(uid, _)| wanted(uid)) {
            Some((uid, known)) => (Some(uid), Some(known.owner)),
            None if options.uid.is_some() => return Ok(()),
            // Another process may have made it just now.
            None => match shared
                .watch
                .ask(id)
                .await
                .map_err(|error| undeleted(id, error))?
            {
                Some(view) => (Some(view.uid.clone()), Some(view.owner.clone())),
                None => (None, orphan(shared, id).await?),
            },
        },
    };
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let api = shared.api();
    let follow = pod.as_ref().map(|uid| shared.watch.follow(id, uid));
    let ends_pod = async {
        let Some(uid) = &pod else { return Ok(()) };
        match api.delete::<Pod>(id, uid, None, deadline).await? {
            true => shared.watch.deleting(uid),
            false => shared.watch.gone(uid),
        }
        Ok(())
    };
    let ends_secret = async {
        let Some(owner) = &secret else { return Ok(()) };
        match pod.as_ref().and_then(|uid| shared.known.get(uid)) {
            Some(known) if known.owner == *owner => api
                .delete::<Secret>(id, owner, None, deadline)
                .await
                .map(|_| ()),
            _ => api.delete_key_secret(id, owner, deadline).await,
        }
    };
    let (of_pod, of_secret) = tokio::join!(ends_pod, ends_secret);
    of_pod
        .and(of_secret)
        .map_err(|error| undeleted(id, error))?;
    if let Some(uid) = &pod {
        shared.known.forget(uid);
    }
    let Some(follow) = follow.filter(|_| options.wait) else {
        return Ok(());
    };
    let gone = async {
        let mut seen = None;
        loop {
            match tokio::time::timeout(QUIET, follow.next(seen.as_ref())).await {
                Ok(Ok(Some(view))) => seen = Some(view),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) if shared.watch.received_within(QUIET) => {}
                // The watch may be behind.
                Err(_elapsed) => match shared.watch.ask(id).await? {
                    Some(view) if Some(&view.uid) == pod.as_ref() => {}
                    _ => {
                        pod.iter().for_each(|uid| shared.watch.gone(uid));
                        return Ok(());
                    }
                },
            }
        }
    };
    Deadline::from_now(GONE)
        .bound("the deletion of the Pod", gone)
        .await
        .map_err(|error| undeleted(id, error))
}

/// The Secret of a sandbox that has no Pod.
async fn orphan(shared: &Shared, id: &SandboxId) -> Result<Option<Uid>> {
    let found = shared
        .api()
        .get::<Secret>(id, Deadline::from_now(LOOKUP_TIMEOUT))
        .await;
    let found = found.map_err(|error| undeleted(id, error))?;
    let ours = found.and_then(|(secret, _)| labels::secret_of(&secret).ok());
    Ok(ours.filter(|(found, _)| found == id).map(|(_, uid)| uid))
}

fn undeleted(id: &SandboxId, error: Error) -> Error {
    match error {
        Error::Deletion { .. } | Error::Config { .. } => error,
        other => Error::Deletion {
            id: id.clone(),
            message: other.to_string(),
            source: Some(Box::new(other)),
        },
    }
}
