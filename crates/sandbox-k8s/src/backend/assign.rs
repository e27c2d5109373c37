//! Gives a sandbox that waited in a pool its labels and its ttl.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Assignment, Deadline, Error, Result, SandboxId, SandboxInfo, SandboxState, Uid,
};
use serde_json::json;

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::ENDS_AFTER;
use crate::observe::status::managed_view;

/// Writes labels and ttl in one patch. Only a ttl needs the API server's time, and so a request more.
pub(super) async fn assign(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    assignment: Assignment,
) -> Result<SandboxInfo> {
    let not_found = || Error::NotFound { id: id.clone() };
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let mut metadata = json!({ "uid": uid });
    if !assignment.labels.is_empty() {
        metadata["labels"] = json!(assignment.labels);
    }
    if let Some(ttl) = assignment.ttl {
        let found = shared.api().get::<Pod>(id, deadline).await?;
        let (pod, now) = found.ok_or_else(not_found)?;
        let view = managed_view(&pod)
            .filter(|view| view.uid == *uid && view.state != SandboxState::Ended)
            .ok_or_else(not_found)?;
        let now = now.unwrap_or_else(SystemTime::now);
        let after = labels::extended_ends_after(&view.ends, view.created_at, now, ttl);
        metadata["annotations"] = json!({ ENDS_AFTER: after });
    }
    let patch = json!({ "metadata": metadata });
    let changed = shared.api().patch::<Pod>(id, &patch, deadline).await?;
    let view = changed
        .and_then(|pod| managed_view(&pod))
        .ok_or_else(not_found)?;
    let info = view.info();
    let has_ended = view.state == SandboxState::Ended;
    shared.watch.record_write(view);
    if has_ended {
        Err(not_found())
    } else {
        Ok(info)
    }
}
