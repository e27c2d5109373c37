//! Deletes a sandbox: its Pod and its Secret at the same time, each by its uid.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, DeleteOptions, Error, Result, SandboxId, Uid};

use super::leftovers;
use super::records::SandboxRecord;
use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels::{SecretName, SecretRef};
use crate::observe::status::{Identity, PodView};

/// How long the deletion of a Pod may take. Its processes get one second, but a kubelet that ends many Pods may need
/// minutes.
const DELETION_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a finalizer may keep a Pod whose processes have ended. Its controller usually removes it at once.
const FINALIZER_GRACE: Duration = Duration::from_secs(10);

/// How long the watch may be silent before the Pod is read instead.
const WATCH_SILENCE: Duration = Duration::from_secs(15);

/// Deletes a sandbox, and waits until its Pod no longer exists if the options say so.
pub(super) async fn delete(
    shared: &Arc<Shared>,
    id: &SandboxId,
    options: DeleteOptions,
) -> Result<()> {
    let target = find_target(shared, id, &options).await;
    let (pod, secret, claim) = match target.map_err(|error| deletion_error(id, error))? {
        Target::Instance(pod, secret, claim) => (pod, secret, claim),
        Target::Leftovers => {
            let deleted = leftovers::delete_all(shared, id).await;
            return deleted.map_err(|error| deletion_error(id, error));
        }
        Target::Nothing => return Ok(()),
    };
    // Delete both objects.
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let api = shared.api();
    let follow = shared.watch.follow(id, &pod);
    let delete_pod = async {
        if api.delete::<Pod>(id, &pod, None, deadline).await? {
            shared.watch.record_deletion(&pod);
        } else {
            shared.watch.record_absence(&pod);
        }
        Ok(())
    };
    let delete_secret = async {
        match shared.records.get(&pod) {
            Some(record) if record.owner == secret => api
                .delete::<Secret>(&secret.name, &secret.uid, None, deadline)
                .await
                .map(|_| ()),
            _ => api.delete_key_secret(&secret, deadline).await,
        }
    };
    let delete_claim = async {
        match claim {
            Some(name) => api.delete_claim_secret(&name, &pod, deadline).await,
            None => Ok(()),
        }
    };
    let (pod_result, secret_result, claim_result) =
        tokio::join!(delete_pod, delete_secret, delete_claim);
    pod_result
        .and(secret_result)
        .and(claim_result)
        .map_err(|error| deletion_error(id, error))?;
    shared.records.remove(&pod);
    // Wait until the Pod no longer exists.
    if !options.wait {
        return Ok(());
    }
    let deleted = async {
        let mut last: Option<Arc<PodView>> = None;
        loop {
            let held = last.clone().filter(|view| !view.held_by.is_empty());
            let patience = match held {
                Some(_) => FINALIZER_GRACE,
                None => WATCH_SILENCE,
            };
            let next = tokio::time::timeout(patience, follow.next(last.as_ref())).await;
            if next.is_err()
                && let Some(held) = held
            {
                return Err(Error::Deletion {
                    id: id.clone(),
                    message: held.describe_deletion(),
                    source: None,
                });
            }
            match next {
                Ok(Ok(Some(view))) => last = Some(view),
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) if shared.watch.received_within(WATCH_SILENCE) => {}
                // The watch may be late.
                Err(_elapsed) => match shared.watch.fetch(id).await? {
                    Some(view) if view.uid == pod => {}
                    _ => {
                        shared.watch.record_absence(&pod);
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

/// What is to be deleted.
enum Target {
    /// The Pod of a sandbox and its Secret, which may both have been deleted before, and the name of the Secret with
    /// the key of its claim, if there may be one.
    Instance(Uid, SecretRef, Option<SecretName>),
    /// What former instances have left. There is no Pod.
    Leftovers,
    /// The requested instance does not exist.
    Nothing,
}

/// Finds out what is to be deleted.
///
/// # Errors
///
/// [`Error::Deletion`] for a Pod of that name that is no sandbox. Neither it nor the Secret that may own it is
/// deleted.
async fn find_target(shared: &Shared, id: &SandboxId, options: &DeleteOptions) -> Result<Target> {
    let is_requested = |uid: &Uid| {
        options
            .uid
            .as_ref()
            .is_none_or(|requested| requested == uid)
    };
    let of_view = |view: &PodView| {
        let is_own = |record: &SandboxRecord| record.claim.as_deref() == view.claim();
        // The claimer knows that it has stored no key.
        let is_attached = shared
            .records
            .get(&view.uid)
            .is_some_and(|record| is_own(&record) && !record.is_detached);
        let claim = view.claim().filter(|_| !is_attached);
        let claim = claim.map(|claim| SecretName::new(&view.id, claim));
        Target::Instance(view.uid.clone(), view.owner.clone(), claim)
    };
    let found = shared.watch.find(id).await?;
    if let Some(view) = found.filter(|view| is_requested(&view.uid)) {
        return Ok(of_view(&view));
    }
    // Another client has deleted the Pod; its Secret may still exist.
    if let Some((uid, record)) = shared.records.find(id).filter(|(uid, _)| is_requested(uid)) {
        let claim = record.claim.filter(|_| record.is_detached);
        let claim = claim.map(|claim| SecretName::new(id, &claim));
        return Ok(Target::Instance(uid, record.owner, claim));
    }
    if options.uid.is_some() {
        return Ok(Target::Nothing);
    }
    // Another process may have created the sandbox a moment ago.
    match shared.watch.identify(id).await? {
        Identity::Sandbox(view) => Ok(of_view(&view)),
        Identity::Free => Ok(Target::Leftovers),
        Identity::Foreign(why) => Err(Error::Deletion {
            id: id.clone(),
            message: format!(
                "the Pod of this name is no sandbox ({why}), so nothing was deleted; restore what was changed, or \
                 delete it with kubectl delete pod {id}"
            ),
            source: None,
        }),
    }
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
