//! Deletes what a creation stored that failed or was cancelled.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret};
use sandbox_core::{Deadline, Result, SandboxId, TrackedWork};

use super::shared::Shared;
use super::stored::{Stored, stored_uid};
use crate::api::objects::ManagedKind;
use crate::manifest::labels::{self, SecretName};

/// How long a failed creation waits for its cleanup, which then continues in the background.
const WAIT: Duration = Duration::from_secs(10);
/// How late a lost create may still take effect. API servers end a request after a minute.
const LATE_WRITE_AFTER: Duration = Duration::from_secs(65);
/// How long a cleanup is retried while the API server is away.
const RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// The objects to delete if a creation fails.
pub(super) struct Cleanup {
    pub(super) shared: Arc<Shared>,
    pub(super) id: SandboxId,
    pub(super) nonce: String,
    pub(super) secret: Stored,
    pub(super) pod: Stored,
    /// Whether to check again later for objects of lost requests.
    pub(super) repeats: bool,
    /// Ends with the cleanup.
    pub(super) _creation: Option<TrackedWork>,
}

impl Cleanup {
    /// Runs the cleanup and waits for a while; what takes longer continues in the background.
    pub(super) async fn run_for_a_while(self) {
        let id = self.id.clone();
        let repetition = self.repeats.then(|| Self {
            shared: Arc::clone(&self.shared),
            id: self.id.clone(),
            nonce: self.nonce.clone(),
            secret: self.secret.unresolved(),
            pod: self.pod.unresolved(),
            repeats: false,
            _creation: None,
        });
        if let Some(repetition) = repetition {
            tokio::spawn(async move {
                tokio::time::sleep(LATE_WRITE_AFTER).await;
                repetition.run().await;
            });
        }
        let never_connected = self.shared.api().clock.now().is_none();
        let cleanup = tokio::spawn(self.run());
        if never_connected {
            // The creation has already waited for an API server that never responded.
            return;
        }
        match tokio::time::timeout(WAIT, cleanup).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(sandbox.id = %id, "cleanup of failed creation continues in the background");
            }
        }
    }

    /// Deletes the objects.
    pub(super) async fn run(self) {
        if let Stored::Yes(uid) = &self.pod {
            self.shared.records.remove(uid);
            self.shared.watch.record_deletion(uid);
        }
        let secret_name = SecretName::new(&self.id, &self.nonce);
        let (pod, secret) = tokio::join!(
            self.delete::<Pod>(&self.id, &self.pod),
            self.delete::<Secret>(&secret_name, &self.secret)
        );
        for (stored, error) in [(&self.pod, pod.err()), (&self.secret, secret.err())] {
            let Some(error) = error else { continue };
            if matches!(stored, Stored::Unknown) && !error.is_retryable() {
                // An account that may not get objects has most likely not been able to create them.
                tracing::debug!(sandbox.id = %self.id, %error, "cannot check for objects of failed creation");
                continue;
            }
            tracing::warn!(
                sandbox.id = %self.id, %error,
                "cleanup of failed creation failed; a sweep deletes the remaining objects"
            );
        }
    }

    async fn delete<K: ManagedKind>(&self, key: &K::Key, stored: &Stored) -> Result<()> {
        let deadline = Deadline::from_now(RETRY_TIMEOUT);
        let api = self.shared.api();
        let uid = match stored {
            Stored::No => return Ok(()),
            Stored::Yes(uid) => uid.clone(),
            Stored::Unknown => match api.get::<K>(key, deadline).await? {
                Some((found, _)) if labels::has_nonce(found.meta(), &self.nonce) => {
                    stored_uid(&found, &self.id)?
                }
                _ => return Ok(()),
            },
        };
        api.delete::<K>(key, &uid, None, deadline).await.map(|_| ())
    }
}
