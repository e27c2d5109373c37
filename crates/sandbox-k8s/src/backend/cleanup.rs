//! Removing what a creation stored that failed, or that nobody waits for any more.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, Result, SandboxId};

use super::shared::Shared;
use super::stored::{Stored, uid_of};
use crate::api::objects::ManagedKind;
use crate::manifest::labels;

/// How long a failed creation waits for its traces to go; after that they go without it.
const UNDO_WAIT: Duration = Duration::from_secs(10);
/// A write that nobody waits for any more may still take effect so late: API servers end a request
/// after a minute.
const LATE: Duration = Duration::from_secs(65);
/// How long traces are tried to be removed, the API server being away.
const UNDO: Duration = Duration::from_secs(300);

/// What a creation has to remove if it fails.
pub(super) struct Undo {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SandboxId,
    pub(super) nonce: String,
    pub(super) secret: Stored,
    pub(super) pod: Stored,
    /// Whether something may be stored only later.
    pub(super) late: bool,
}

impl Undo {
    /// For a while; what takes longer goes on by itself.
    pub(super) async fn wait(self) {
        let id = self.id.clone();
        let late = self.late.then(|| Self {
            shared: Arc::clone(&self.shared),
            id: self.id.clone(),
            nonce: self.nonce.clone(),
            secret: self.secret.again(),
            pod: self.pod.again(),
            late: false,
        });
        if let Some(again) = late {
            tokio::spawn(async move {
                tokio::time::sleep(LATE).await;
                again.run().await;
            });
        }
        let away = self.shared.api().clock.now().is_none();
        let removal = tokio::spawn(self.run());
        if away {
            // An API server that never answered: nobody shall wait for it twice.
            return;
        }
        match tokio::time::timeout(UNDO_WAIT, removal).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(sandbox.id = %id, "the traces of a failed creation are still being removed");
            }
        }
    }

    pub(super) async fn run(self) {
        if let Stored::As(uid) = &self.pod {
            self.shared.known.forget(uid);
            self.shared.watch.deleting(uid);
        }
        let (pod, secret) = tokio::join!(
            self.remove::<Pod>(&self.pod),
            self.remove::<Secret>(&self.secret)
        );
        for (stored, error) in [(&self.pod, pod.err()), (&self.secret, secret.err())] {
            let Some(error) = error else { continue };
            if matches!(stored, Stored::Unknown) && !error.is_retryable() {
                // Whoever may not look had not been let write either.
                tracing::debug!(sandbox.id = %self.id, %error, "whether something was stored cannot be seen");
                continue;
            }
            tracing::warn!(
                sandbox.id = %self.id, %error,
                "a failed creation could not be undone; a sweep removes what is left of it"
            );
        }
    }

    async fn remove<K: ManagedKind>(&self, stored: &Stored) -> Result<()> {
        let deadline = Deadline::from_now(UNDO);
        let api = self.shared.api();
        let uid = match stored {
            Stored::No => return Ok(()),
            Stored::As(uid) => uid.clone(),
            Stored::Unknown => match api.get::<K>(&self.id, deadline).await? {
                Some((found, _)) if labels::is_from(found.meta(), &self.nonce) => {
                    uid_of(&found, &self.id)?
                }
                _ => return Ok(()),
            },
        };
        api.delete::<K>(&self.id, &uid, None, deadline)
            .await
            .map(|_| ())
    }
}
