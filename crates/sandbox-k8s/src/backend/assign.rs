//! Gives a sandbox that waited in a pool its labels and its ttl.

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Assignment, Deadline, Error, Result, SandboxId, SandboxInfo, Uid};
use serde_json::json;

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::ENDS_AFTER;

/// Writes labels and ttl in one patch. Only a ttl needs the API server's time, and so a request more.
pub(super) async fn assign(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    assignment: Assignment,
) -> Result<SandboxInfo> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let mut metadata = json!({ "uid": uid });
    if !assignment.labels.is_empty() {
        metadata["labels"] = json!(assignment.labels);
    }
    if let Some(ttl) = assignment.ttl {
        let (view, now) = shared.find_running(id, deadline).await?;
        if view.uid != *uid {
            return Err(Error::NotFound { id: id.clone() });
        }
        let after = labels::extended_ends_after(&view.ends, view.created_at, now, ttl);
        metadata["annotations"] = json!({ ENDS_AFTER: after });
    }
    let patch = json!({ "metadata": metadata });
    let changed = shared.api().patch::<Pod>(id, &patch, deadline).await?;
    shared.record_change(id, changed.as_ref())
}
