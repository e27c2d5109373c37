//! Deletes a sandbox whose creation failed or was dropped.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{DeleteOptions, SandboxId, Uid};

use crate::parts::Parts;

/// How long a failed creation waits for the deletion of its sandbox.
pub(crate) const CLEANUP_WAIT: Duration = Duration::from_secs(10);

/// Deletes an instance when it is dropped, unless it was disarmed.
pub(crate) struct DeleteOnDrop {
    target: Option<(Arc<Parts>, SandboxId, Uid)>,
}

impl DeleteOnDrop {
    pub(crate) fn new(parts: Arc<Parts>, id: SandboxId, uid: Uid) -> Self {
        Self {
            target: Some((parts, id, uid)),
        }
    }

    /// Disarms the guard: the sandbox is kept.
    pub(crate) fn disarm(mut self) {
        self.target = None;
    }

    /// Deletes the sandbox now, so that nothing is left when the error of its creation is returned.
    /// After `wait` the deletion continues in the background, because it takes long if a node does
    /// not respond, for example. Returns whether the sandbox is deleted.
    pub(crate) async fn delete(mut self, wait: Duration) -> bool {
        let Some((parts, id, uid)) = self.target.take() else {
            return true;
        };
        let target_id = id.clone();
        let counted = parts.deletions.begin();
        let removal = tokio::spawn(async move {
            let _counted = counted;
            parts.delete(&id, DeleteOptions::for_instance(uid)).await
        });
        match tokio::time::timeout(wait, removal).await {
            Ok(Ok(Ok(()))) => true,
            Ok(Ok(Err(error))) => {
                tracing::warn!(sandbox.id = %target_id, %error, "cannot delete the sandbox of a failed creation; it ends by itself");
                false
            }
            Ok(Err(error)) => {
                tracing::warn!(sandbox.id = %target_id, %error, "the deletion of the sandbox of a failed creation was aborted; it ends by itself");
                false
            }
            Err(_elapsed) => {
                tracing::warn!(sandbox.id = %target_id, "the sandbox of a failed creation is still being deleted");
                false
            }
        }
    }
}

impl Drop for DeleteOnDrop {
    fn drop(&mut self) {
        let Some((parts, id, uid)) = self.target.take() else {
            return;
        };
        // Without a runtime nothing can be deleted. The sandbox then ends by itself, because no
        // client attaches to it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let counted = parts.deletions.begin();
            runtime.spawn(async move {
                let _counted = counted;
                if let Err(error) = parts.delete(&id, DeleteOptions::for_instance(uid)).await {
                    tracing::warn!(sandbox.id = %id, %error, "cannot delete the sandbox of a dropped creation; it ends by itself");
                }
            });
        }
    }
}
