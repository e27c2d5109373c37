//! Why a sandbox does not run, or has ended.

use std::time::{Duration, SystemTime};

use futures_util::stream::StreamExt;
use sandbox_core::{Deadline, Diagnosis, Error, LogOptions, Result, SandboxId, SandboxState};

use super::logs::logs;
use super::shared::Shared;
use crate::names::CONTAINER;
use crate::observe::status::{PodView, cluster_event, events_since, explained};

/// How much of a log explains an end.
const TAIL: usize = 20;
/// How long a log may take to come when it is only to explain something.
const TAIL_WAIT: Duration = Duration::from_secs(3);

pub(super) async fn diagnose(shared: &Shared, id: &SandboxId) -> Result<Diagnosis> {
    let mut diagnosis = Diagnosis::default();
    let Some(view) = shared.watch.find(id).await? else {
        if shared.known.of(id).is_none() {
            return Err(Error::NotFound { id: id.clone() });
        }
        diagnosis.summary = "its Pod is gone, and this client did not delete it".into();
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
        (None, SandboxState::Running) => running(&view),
        (None, _) if view.scheduled.is_some() => "its container is being started".into(),
        (None, _) => "it has no machine yet".into(),
    };
    let deadline = Deadline::from_now(TAIL_WAIT);
    let asked = tokio::join!(
        shared.api().list_events(&view.uid, deadline),
        tail(shared, &view)
    );
    diagnosis.events = events_since(None, &view, SystemTime::now());
    match asked.0 {
        Ok(more) => diagnosis
            .events
            .extend(more.iter().filter_map(cluster_event)),
        Err(error) => {
            tracing::debug!(sandbox.id = %id, %error, "the cluster's events cannot be read")
        }
    }
    diagnosis.events.sort_by_key(|event| event.at);
    if view.state == SandboxState::Pending
        && let Some(more) = explained(view.problem.as_ref(), &diagnosis.events)
    {
        diagnosis.has_fallback |= shared.record_volume_failure(&view.uid, Some(&more));
        (diagnosis.reason, diagnosis.summary) = (Some(more.reason), more.message);
    }
    diagnosis.log_tail = asked.1;
    Ok(diagnosis)
}

/// What is expected of a container that runs.
fn running(view: &PodView) -> String {
    let PodView { port, user, .. } = view;
    match user.as_str() {
        CONTAINER => format!("its container runs, and SSH is expected on port {port}"),
        user => format!(
            "its container runs, and its image's own SSH server is expected on port {port}, to let {user} in"
        ),
    }
}

/// The last lines of its log, as far as they can be had at once.
async fn tail(shared: &Shared, view: &PodView) -> String {
    if view.started_at.is_none() || !view.last_words.is_empty() {
        return view.last_words.clone();
    }
    let mut options = LogOptions::default();
    options.tail_lines = Some(TAIL);
    let read = async {
        let mut log = logs(shared, &view.id, options).await?;
        let mut text = Vec::new();
        while let Some(piece) = log.next().await {
            text.extend_from_slice(&piece?);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    };
    match Deadline::from_now(TAIL_WAIT)
        .bound("reading the log", read)
        .await
    {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(sandbox.id = %view.id, %error, "the log cannot be read");
            String::new()
        }
    }
}
