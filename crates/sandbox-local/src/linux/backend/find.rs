//! Finding sandboxes, whoever made them.

use std::io::{self, ErrorKind};

use sandbox_core::{Error, ListFilter, Result, SandboxId, SandboxInfo, SandboxState};

use super::{LocalBackend, blocking, failed, gone_or};
use crate::linux::reclaim::clear_dead;
use crate::linux::record::Record;
use crate::linux::state::{Life, SandboxDir, StateDir};

impl LocalBackend {
    /// The record of a sandbox that lives.
    pub(super) async fn find(&self, id: &SandboxId) -> Result<Record> {
        let dir = self.shared.state.sandbox(id);
        let found = blocking("look for the sandbox", move || living(&dir))
            .await
            .map_err(|error| gone_or(error, id))?;
        found.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    pub(super) async fn list_all(&self, filter: ListFilter) -> Result<Vec<SandboxInfo>> {
        let state = self.shared.state.clone();
        blocking("list the sandboxes", move || list(&state, &filter))
            .await
            .map_err(|error| failed("list the sandboxes", error))
    }

    /// Replaces the record of a sandbox that lives.
    pub(super) async fn change(
        &self,
        id: &SandboxId,
        change: impl FnOnce(&mut Record) + Send + 'static,
    ) -> Result<Record> {
        let dir = self.shared.state.sandbox(id);
        let changed = blocking("change the sandbox", move || {
            let _lock = dir.lock_for_change()?;
            let Some(mut record) = living(&dir)? else {
                return Ok(None);
            };
            change(&mut record);
            record.write(&dir)?;
            Ok(Some(record))
        });
        changed
            .await
            .map_err(|error| gone_or(error, id))?
            .ok_or_else(|| Error::NotFound { id: id.clone() })
    }
}

/// The record, if its supervisor lives and the sandbox has come to be.
fn living(dir: &SandboxDir) -> io::Result<Option<Record>> {
    match dir.life()? {
        Life::Held(Some(supervisor)) if supervisor.open()?.is_some() => {}
        Life::Held(_) | Life::Dead | Life::Absent => return Ok(None),
    }
    match Record::read(dir) {
        // One that is still being made is nobody's yet: its maker may go, and it with him.
        Ok(record) => Ok((record.info.state != SandboxState::Pending).then_some(record)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn list(state: &StateDir, filter: &ListFilter) -> io::Result<Vec<SandboxInfo>> {
    let mut found = Vec::new();
    for id in state.ids()? {
        let dir = state.sandbox(&id);
        if dir.life()? == Life::Dead {
            // What resists is told by a sweep.
            if let Err(error) = clear_dead(state, &id) {
                tracing::warn!(%id, %error, "what is left of a dead sandbox was not removed");
            }
            continue;
        }
        match living(&dir) {
            Ok(record) => found.extend(
                record
                    .map(|record| record.info)
                    .filter(|info| filter.matches(&info.labels)),
            ),
            // One damaged record does not hide the others.
            Err(error) => tracing::warn!(%id, %error, "a sandbox cannot be described"),
        }
    }
    found.sort_by(|a, b| {
        a.created_at
            .cmp(&b.created_at)
            .then_with(|| a.id.cmp(&b.id))
    });
    Ok(found)
}
