//! Finds out why a sandbox failed or does not respond.

use std::time::SystemTime;

use sandbox_core::{Diagnosis, EndCause, Error, Result, SandboxId, rfc3339};

use super::cache::{KnownEnd, SandboxCache};
use super::events::start_events;
use super::file_access::{lookup_error, run_blocking};
use super::logs::read_tail;
use super::lookup::find;
use crate::linux::cgroup::Cgroup;
use crate::linux::state::StateDir;

/// Diagnoses a sandbox. If it has ended, the cache is what remains to say anything about it.
pub(super) async fn diagnose(
    state: &StateDir,
    id: &SandboxId,
    cache: &SandboxCache,
) -> Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    let record = match find(state, id).await {
        Ok(record) => record,
        Err(Error::NotFound { id }) => {
            let known = cache.find_end(&id).await;
            let known = known.ok_or(Error::NotFound { id })?;
            diagnosis.is_final = true;
            diagnosis.summary = summarize_end(&known);
            diagnosis.end = known.end.map(|end| end.cause);
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

fn summarize_end(known: &KnownEnd) -> String {
    let expired_at = known
        .info
        .expires_at
        .filter(|end| *end <= SystemTime::now());
    match (&known.end, expired_at) {
        (Some(end), Some(at)) if end.cause == EndCause::Lifetime => describe_lifetime(at),
        (Some(end), _) => end.message.clone(),
        (None, Some(at)) => describe_lifetime(at),
        (None, None) => {
            "it has ended: it was deleted, it was idle for too long, or its server crashed"
                .to_owned()
        }
    }
}

fn describe_lifetime(end: SystemTime) -> String {
    format!("its lifetime ended at {}", rfc3339(end))
}
