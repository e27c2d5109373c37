//! Changes the labels, annotations and ttl of a sandbox: of one that waited in a pool, or later.

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Assignment, Deadline, Error, Result, SandboxId, SandboxInfo, Uid};
use serde_json::{Map, Value, json};

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::{ENDS_AFTER, ON_EXPIRY, PAUSED};

/// Writes labels, annotations and ttl in one patch. Only a ttl needs the API server's time, and so a request more.
pub(super) async fn assign(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    assignment: Assignment,
) -> Result<SandboxInfo> {
    assignment.validate()?;
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let mut metadata = json!({ "uid": uid });
    let mut patch = json!({});
    if !assignment.labels.is_empty() {
        metadata["labels"] = json!(assignment.labels);
    }
    if !assignment.annotations.is_empty() {
        // The cached state may be older than another client's change; reading limits what both have written.
        if let Some(view) = shared.watch.find(id).await?
            && view.uid == *uid
        {
            assignment.merge_annotations(&view.annotations)?;
        }
        let stored = labels::stored_annotations(&assignment.annotations);
        let stored: Map<_, _> = stored
            .map(|(key, value)| (key, Value::String(value)))
            .collect();
        metadata["annotations"] = stored.into();
    }
    if let Some(is_paused) = assignment.is_paused {
        metadata["annotations"][PAUSED] = match is_paused {
            true => json!("true"),
            false => Value::Null,
        };
    }
    if let Some(on_expiry) = assignment.on_expiry {
        metadata["annotations"][ON_EXPIRY] = json!(on_expiry.as_str());
    }
    if let Some(ttl) = assignment.ttl {
        let (view, now) = shared.find_running(id, deadline).await?;
        if view.uid != *uid {
            return Err(Error::NotFound { id: id.clone() });
        }
        let after = labels::extended_ends_after(&view.ends, view.created_at, now, ttl);
        metadata["annotations"][ENDS_AFTER] = json!(after);
        // An image's SSH server enforces no ttl, so the cluster does. It lets its deadline only be lowered.
        if shared.uses_image_server() {
            let seconds: i64 = after.parse().unwrap_or(i64::MAX);
            patch["spec"] = json!({ "activeDeadlineSeconds": seconds.max(1) });
        }
    }
    patch["metadata"] = metadata;
    let changed = shared.api().patch::<Pod>(id, &patch, deadline).await?;
    shared.record_change(id, changed.as_ref())
}
