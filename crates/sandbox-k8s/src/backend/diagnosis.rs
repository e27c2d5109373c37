//! Finds out why a sandbox does not run, or has ended.

use std::time::{Duration, SystemTime};

use futures_util::stream::StreamExt;
use sandbox_core::{Deadline, Diagnosis, Error, LogOptions, Result, SandboxId, SandboxState};

use super::logs::logs;
use super::shared::Shared;
use crate::names::CONTAINER;
use crate::observe::status::{PodView, cluster_event, events_since, problem_from_events};

/// The number of log lines in a diagnosis.
const LOG_TAIL_LINES: usize = 20;
/// Timeout of reading the log and the events for a diagnosis.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(3);

/// Diagnoses a sandbox from the status of its Pod, the cluster's events, and the log.
pub(super) async fn diagnose(shared: &Shared, id: &SandboxId) -> Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    let Some(view) = shared.watch.find(id).await? else {
        if shared.records.find(id).is_none() {
            return Err(Error::NotFound { id: id.clone() });
        }
        diagnosis.summary = "its Pod no longer exists, and this client did not delete it".into();
        diagnosis.is_final = true;
        return Ok(diagnosis);
    };
    diagnosis.is_final = view.state == SandboxState::Ended;
    diagnosis.has_fallback = shared.record_volume_failure(&view.uid, view.problem.as_ref());
    diagnosis.reason = view.problem.as_ref().map(|problem| problem.reason);
    diagnosis.summary = match (&view.problem, view.state) {
        (Some(problem), _) => problem.message.clone(),
        (None, SandboxState::Ended) if view.deleting => "its Pod is being deleted".into(),
        (None, SandboxState::Ended) => "its Pod has ended".into(),
        (None, SandboxState::Running) => describe_running(&view),
        (None, _) if view.scheduled.is_some() => "its container is being started".into(),
        (None, _) => "the Pod is not scheduled yet".into(),
    };
    let deadline = Deadline::from_now(DETAILS_TIMEOUT);
    let (cluster_events, log_tail) = tokio::join!(
        shared.api().list_events(&view.uid, deadline),
        read_log_tail(shared, &view)
    );
    diagnosis.events = events_since(None, &view, SystemTime::now());
    match cluster_events {
        Ok(events) => diagnosis
            .events
            .extend(events.iter().filter_map(cluster_event)),
        Err(error) => {
            tracing::debug!(sandbox.id = %id, %error, "cluster events not read")
        }
    }
    diagnosis.events.sort_by_key(|event| event.at);
    if view.state == SandboxState::Pending
        && let Some(problem) = problem_from_events(view.problem.as_ref(), &diagnosis.events)
    {
        diagnosis.has_fallback |= shared.record_volume_failure(&view.uid, Some(&problem));
        diagnosis.reason = Some(problem.reason);
        diagnosis.summary = problem.message;
    }
    diagnosis.log_tail = log_tail;
    Ok(diagnosis)
}

/// Describes what is expected of a running container.
fn describe_running(view: &PodView) -> String {
    let PodView { port, user, .. } = view;
    match user.as_str() {
        CONTAINER => format!("its container runs, and should serve SSH on port {port}"),
        user => format!(
            "its container runs, and the image's SSH server should accept {user} on port {port}"
        ),
    }
}

/// Returns the last lines of the log, or an empty string if they cannot be read soon.
async fn read_log_tail(shared: &Shared, view: &PodView) -> String {
    if view.started_at.is_none() || !view.termination_message.is_empty() {
        return view.termination_message.clone();
    }
    let mut options = LogOptions::default();
    options.tail_lines = Some(LOG_TAIL_LINES);
    let read = async {
        let mut log = logs(shared, &view.id, options).await?;
        let mut text = Vec::new();
        while let Some(chunk) = log.next().await {
            text.extend_from_slice(&chunk?);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    match Deadline::from_now(DETAILS_TIMEOUT)
        .bound("reading the log", read)
        .await
    {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(sandbox.id = %view.id, %error, "log not read");
            String::new()
        }
    }
}
