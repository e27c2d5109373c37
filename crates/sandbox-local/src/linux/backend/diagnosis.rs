//! Finds out why a sandbox failed or does not respond.

use std::time::SystemTime;

use sandbox_core::{Diagnosis, Error, Result, SandboxId, SandboxInfo, rfc3339};

use super::events::start_events;
use super::file_access::{lookup_error, run_blocking};
use super::logs::read_tail;
use super::lookup::find;
use crate::linux::cgroup::Cgroup;
use crate::linux::state::StateDir;

/// Diagnoses a sandbox. If it has ended, `cached` is what remains to say anything about it.
pub(super) async fn diagnose(
    state: &StateDir,
    id: &SandboxId,
    cached: Option<SandboxInfo>,
) -> Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    let record = match find(state, id).await {
        Ok(record) => record,
        Err(Error::NotFound { id }) => {
            let info = cached.ok_or(Error::NotFound { id })?;
            diagnosis.is_final = true;
            diagnosis.summary = summarize_end(&info);
            return Ok(diagnosis);
        }
        Err(error) => return Err(error),
    };
    let dir = state.sandbox(id);
    diagnosis.events = start_events(&record);
    let kills = Cgroup::from_directories(record.cgroups).out_of_memory_kills();
    diagnosis.summary = match kills {
        0 => "its server is running".to_owned(),
        1 => "its server is running; one of its processes was killed because memory ran out"
            .to_owned(),
        count => format!(
            "its server is running; {count} of its processes were killed because memory ran out"
        ),
    };
    let log = run_blocking("read the log", move || read_tail(&dir)).await;
    diagnosis.log_tail = log.map_err(|error| lookup_error(error, id))?;
    Ok(diagnosis)
}

fn summarize_end(info: &SandboxInfo) -> String {
    match info.expires_at.filter(|end| *end <= SystemTime::now()) {
        Some(end) => format!("its lifetime ended at {}", rfc3339(end)),
        None => "it has ended: it was deleted, it was idle for too long, or its server crashed"
            .to_owned(),
    }
}
