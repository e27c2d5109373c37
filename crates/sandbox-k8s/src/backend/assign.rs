//! Changes the labels, annotations and ttl of a sandbox: of one that waited in a pool, or later.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Assignment, Deadline, Error, Result, SandboxId, SandboxInfo, Uid};
use serde_json::{Map, Value, json};

use super::paused_cpu;
use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;
use crate::names::{ENDS_AFTER, ON_EXPIRY, PAUSED, PAUSED_CPU};

/// Writes labels, annotations and ttl in one patch. Only a ttl needs the API server's time, and so a request more.
pub(super) async fn assign(
    shared: &Arc<Shared>,
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
    let mut restored = Ok(());
    let mut reservation = None;
    match assignment.is_paused {
        None => {}
        Some(true) => {
            metadata["annotations"][PAUSED] = json!("true");
            reservation = paused_cpu::find(shared, id, uid, deadline).await;
            if let Some(reservation) = &reservation {
                metadata["annotations"][PAUSED_CPU] = reservation.to_annotation();
            }
        }
        Some(false) => {
            metadata["annotations"][PAUSED] = Value::Null;
            restored = paused_cpu::restore(shared, id, uid, deadline).await;
            if restored.is_ok() {
                metadata["annotations"][PAUSED_CPU] = Value::Null;
            }
        }
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
    let info = shared.record_change(id, changed.as_ref())?;
    if let Some(reservation) = reservation {
        paused_cpu::release(shared, id, uid, &reservation, deadline).await;
    }
    // It runs in any case, so it is recorded as resumed before.
    restored.map(|()| info)
}
