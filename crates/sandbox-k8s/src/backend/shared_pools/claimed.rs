//! A sandbox that was claimed: its keys, and what deletes it if the claim does not come to its end.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Claimed, Deadline, DeleteOptions, Error, PoolClaim, Result, SandboxId, TrackedWork, Uid,
};

use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::objects::CreateOutcome;
use crate::backend::delete;
use crate::backend::records::SandboxRecord;
use crate::backend::shared::Shared;
use crate::manifest::labels::SecretName;
use crate::manifest::secret::{KeySecret, StoredKeys};
use crate::names::BACKEND;
use crate::observe::status::{PodView, managed_view};

/// How late a request without a response may still take effect. API servers end a request after a minute.
const LATE_WRITE_AFTER: Duration = Duration::from_secs(65);
/// How long a claim without a response is looked for while the API server is away.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(300);

/// A claimed sandbox, which is deleted when dropped, unless it is kept.
pub(super) struct ClaimedSandbox {
    pub(super) claimed: Claimed,
    pub(super) guard: ClaimGuard,
}

impl ClaimedSandbox {
    /// Leaves the sandbox to the caller.
    pub(super) fn keep(self) -> Claimed {
        self.guard.disarm();
        self.claimed
    }
}

/// Deletes a claimed sandbox when dropped.
pub(super) struct ClaimGuard {
    shared: Arc<Shared>,
    view: Arc<PodView>,
    /// Ends with the deletion.
    claim: TrackedWork,
    is_armed: bool,
}

impl ClaimGuard {
    pub(super) fn new(shared: &Arc<Shared>, view: &Arc<PodView>, claim: TrackedWork) -> Self {
        Self {
            shared: Arc::clone(shared),
            view: Arc::clone(view),
            claim,
            is_armed: true,
        }
    }

    /// Leaves the sandbox alone.
    pub(super) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if self.is_armed
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (shared, view) = (Arc::clone(&self.shared), Arc::clone(&self.view));
            let claim = self.claim.clone();
            runtime.spawn(async move {
                delete_claimed(&shared, &view).await;
                drop(claim);
            });
        }
    }
}

/// Describes a claimed sandbox, and remembers its new key.
pub(super) fn describe(
    shared: &Shared,
    view: &PodView,
    stored: &StoredKeys,
    claim: &PoolClaim,
    word: &str,
) -> Result<Claimed> {
    let host_key = stored.host.as_ref().ok_or_else(|| Error::Backend {
        backend: BACKEND,
        operation: "claim a sandbox of a pool",
        message: format!("the Secret {} has no host key", view.owner.name),
        transient: false,
        source: None,
    })?;
    let new_key = &claim.client_key.private;
    let record = SandboxRecord {
        id: view.id.clone(),
        owner: view.owner.clone(),
        host_key: Some(host_key.clone()),
        client_key: new_key.clone(),
        is_detached: claim.is_detached,
        via: None,
        waits_for_room: false,
        claim: Some(word.to_owned()),
    };
    shared.remember(view.uid.clone(), record);
    Ok(Claimed {
        info: view.info(),
        first_access: shared.access_to(view, host_key, &stored.client),
        access: shared.access_to(view, host_key, new_key),
    })
}

/// Stores the new client key of a claimed sandbox in a Secret that its Pod owns.
pub(super) async fn store_key(shared: &Shared, id: &SandboxId, uid: &Uid) -> Result<()> {
    let not_found = || Error::NotFound { id: id.clone() };
    let record = shared.records.get(uid).ok_or_else(not_found)?;
    let (Some(word), Some(host_key)) = (record.claim, record.host_key) else {
        return Err(not_found());
    };
    let secret = KeySecret::for_claim(
        id,
        &shared.api().namespace,
        &word,
        uid,
        &host_key,
        &record.client_key,
    );
    let name = SecretName::new(id, &word);
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let manifest = secret.manifest();
    let stored = shared.api().create(&name, manifest, &word, deadline).await;
    match stored.map_err(Error::from) {
        Ok(CreateOutcome::Stored(_)) => Ok(()),
        Ok(CreateOutcome::NameTaken(_)) => {
            let message = format!("another Secret has the name {name}; claim another sandbox");
            Err(store_error(message, None))
        }
        // The sandbox itself exists.
        Err(Error::Creation(error)) => {
            Err(store_error(error.message.clone(), Some((*error).into())))
        }
        Err(error) => Err(error),
    }
}

fn store_error(message: String, cause: Option<Error>) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation: "store the key of a claimed sandbox",
        message,
        transient: cause.as_ref().is_some_and(Error::is_retryable),
        source: cause.map(Into::into),
    }
}

/// Finds out in the background whether a claim without a response was applied, and deletes the sandbox if so. Nobody
/// else can use it, and its own server ends it if this process is killed.
pub(super) fn resolve_later(shared: &Arc<Shared>, view: &Arc<PodView>, word: String) {
    let (shared, view) = (Arc::clone(shared), Arc::clone(view));
    tokio::spawn(async move {
        for pause in [Duration::ZERO, LATE_WRITE_AFTER] {
            tokio::time::sleep(pause).await;
            let deadline = Deadline::from_now(RESOLVE_TIMEOUT);
            match shared.api().get::<Pod>(&view.id, deadline).await {
                Ok(found) => {
                    let found = found.and_then(|(pod, _)| managed_view(&pod));
                    if let Some(found) = found
                        && found.uid == view.uid
                        && found.claim() == Some(word.as_str())
                    {
                        return delete_claimed(&shared, &found).await;
                    }
                }
                Err(error) => tracing::warn!(
                    sandbox.id = %view.id, %error,
                    "cannot find out whether a claim succeeded; if so, the sandbox ends by itself"
                ),
            }
        }
    });
}

async fn delete_claimed(shared: &Arc<Shared>, view: &PodView) {
    let mut options = DeleteOptions::for_instance(view.uid.clone());
    options.wait = false;
    if let Err(error) = delete::delete(shared, &view.id, options).await {
        tracing::warn!(
            sandbox.id = %view.id, %error,
            "a claimed sandbox that cannot be used was not deleted; it ends by itself"
        );
    }
}
