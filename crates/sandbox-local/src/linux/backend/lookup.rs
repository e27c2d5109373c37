//! Finds sandboxes, also those that other processes created, and updates their records.

use std::io::{self, ErrorKind};

use sandbox_core::{Error, ListFilter, Result, SandboxId, SandboxInfo, SandboxState, Uid};

use super::file_access::{backend_error, lookup_error, run_blocking};
use crate::linux::reclaim::reclaim;
use crate::linux::record::Record;
use crate::linux::state::{LockState, SandboxDir, StateDir};

/// Returns the record of a running sandbox.
pub(super) async fn find(state: &StateDir, id: &SandboxId) -> Result<Record> {
    let dir = state.sandbox(id);
    run_blocking("look up the sandbox", move || read_running(&dir))
        .await
        .map_err(|error| lookup_error(error, id))?
        .ok_or_else(|| Error::NotFound { id: id.clone() })
}

/// Returns all running sandboxes that the filter selects, oldest first.
pub(super) async fn list(state: &StateDir, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
    let state = state.clone();
    run_blocking("list the sandboxes", move || list_blocking(&state, &filter))
        .await
        .map_err(|error| backend_error("list the sandboxes", error))
}

/// Replaces the record of a running sandbox, if it is this instance, or any if there is no `uid`. A change that fails
/// leaves the record as it is.
pub(super) async fn update(
    state: &StateDir,
    id: &SandboxId,
    uid: Option<Uid>,
    change: impl FnOnce(&mut Record) -> Result<()> + Send + 'static,
) -> Result<Record> {
    let dir = state.sandbox(id);
    let updated = run_blocking("update the sandbox", move || {
        let _lock = dir.lock_record()?;
        let Some(mut record) = read_running(&dir)? else {
            return Ok(None);
        };
        if uid.is_some_and(|uid| uid != record.info.uid) {
            return Ok(None);
        }
        let changed = change(&mut record);
        if changed.is_ok() {
            record.write(&dir)?;
        }
        Ok(Some(changed.map(|()| record)))
    });
    updated
        .await
        .map_err(|error| lookup_error(error, id))?
        .unwrap_or_else(|| Err(Error::NotFound { id: id.clone() }))
}

/// Returns the record if the supervisor runs and the creation is complete.
fn read_running(dir: &SandboxDir) -> io::Result<Option<Record>> {
    match dir.lock_state()? {
        LockState::Locked(Some(supervisor)) if supervisor.open_pidfd()?.is_some() => {}
        LockState::Locked(_) | LockState::Ended | LockState::Absent => return Ok(None),
    }
    match Record::read(dir) {
        // A pending sandbox is not listed yet: it disappears if its creator ends now.
        Ok(record) => Ok((record.info.state != SandboxState::Pending).then_some(record)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn list_blocking(state: &StateDir, filter: &ListFilter) -> io::Result<Vec<SandboxInfo>> {
    let mut found = Vec::new();
    for id in state.ids()? {
        let dir = state.sandbox(&id);
        if dir.lock_state()? == LockState::Ended {
            // A failure is only logged here; a sweep returns it.
            if let Err(error) = reclaim(state, &id) {
                tracing::warn!(%id, %error, "ended sandbox not cleaned up");
            }
            continue;
        }
        match read_running(&dir) {
            Ok(record) => found.extend(
                record
                    .map(|record| record.info)
                    .filter(|info| filter.matches(&info.labels)),
            ),
            // One damaged record must not hide the other sandboxes.
            Err(error) => tracing::warn!(%id, %error, "record not readable; sandbox not listed"),
        }
    }
    found.sort_by(|a, b| {
        a.created_at
            .cmp(&b.created_at)
            .then_with(|| a.id.cmp(&b.id))
    });
    Ok(found)
}
