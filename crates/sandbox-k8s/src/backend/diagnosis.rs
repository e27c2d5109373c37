//! Finds out why a sandbox does not run, or has ended.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Event;
use sandbox_core::{Deadline, Diagnosis, EndCause, Error, Result, SandboxId, SandboxState, Uid};
use tokio::time::sleep;

use super::logs::read_log_tail;
use super::shared::Shared;
use super::volume_sources::{SourceCheck, check_sources};
use crate::names::CONTAINER;
use crate::observe::status::{
    PodView, Problem, cluster_event, end_from_events, events_since, problem_from_events,
};

/// How much of a log is in a diagnosis.
const LOG_TAIL_LINES: usize = 20;
const LOG_TAIL_BYTES: usize = 16 << 10;
/// Timeout of reading the log and the events for a diagnosis.
const DETAILS_TIMEOUT: Duration = Duration::from_secs(3);
/// The pause before the events are read again, if they do not name a problem yet.
const EVENTS_PAUSE: Duration = Duration::from_millis(500);

/// Diagnoses a sandbox from the status of its Pod, the cluster's events, and the log.
pub(super) async fn diagnose(shared: &Shared, id: &SandboxId) -> Result<Diagnosis> {
    let Some(view) = shared.watch.find(id).await? else {
        let Some((uid, _)) = shared.records.find(id) else {
            return Err(Error::NotFound { id: id.clone() });
        };
        return Ok(diagnose_missing(shared, id, &uid).await);
    };
    let mut diagnosis = Diagnosis::default();
    let deadline = Deadline::from_now(DETAILS_TIMEOUT);
    let ((cluster_events, sources), log_tail) = tokio::join!(
        read_events(shared, &view, deadline),
        read_log(shared, &view, deadline)
    );
    // Reading the events of one that seems to start can take seconds, in which it may have ended.
    let view = if view.state == SandboxState::Pending {
        match shared.watch.find(id).await? {
            Some(now) if now.uid == view.uid => now,
            Some(_) | None => return Ok(diagnose_missing(shared, id, &view.uid).await),
        }
    } else {
        view
    };
    diagnosis.is_final = view.state == SandboxState::Ended;
    diagnosis.log_tail = log_tail;
    diagnosis.events = events_since(None, &view, SystemTime::now());
    diagnosis
        .events
        .extend(cluster_events.iter().filter_map(cluster_event));
    diagnosis.events.sort_by_key(|event| event.at);

    // What the status leaves open may be in the events.
    let from_events = match view.state {
        SandboxState::Pending => problem_from_events(view.problem.as_ref(), &diagnosis.events),
        SandboxState::Ended if may_events_explain(&view) => end_from_events(&cluster_events),
        _ => None,
    };
    let problem = from_events
        .as_ref()
        .or(sources.missing.as_ref())
        .or(view.problem.as_ref());
    diagnosis.has_fallback = shared.record_volume_failure(&view.uid, problem);
    diagnosis.reason = problem.map(|problem| problem.reason);
    let end = diagnosis.is_final.then(|| view.end(problem));
    diagnosis.summary = match (&end, problem) {
        (Some(end), _) => end.message.clone(),
        (None, Some(problem)) => problem.message.clone(),
        (None, None) if view.state == SandboxState::Running => describe_running(&view),
        (None, None) if view.scheduled.is_some() => describe_starting(&sources),
        (None, None) => "the Pod is not scheduled yet".into(),
    };
    diagnosis.end = end.map(|end| end.cause);
    if problem.is_none()
        && let Some(failure) = shared.connect_state.uploads.failure(&view.uid)
    {
        diagnosis.reason = Some(failure.reason);
        diagnosis.summary = failure.message;
    }
    Ok(diagnosis)
}

/// Diagnoses a sandbox of this client whose Pod does not exist any more.
async fn diagnose_missing(shared: &Shared, id: &SandboxId, uid: &Uid) -> Diagnosis {
    let deadline = Deadline::from_now(DETAILS_TIMEOUT);
    let cluster_events = list_events(shared, id, uid, deadline)
        .await
        .unwrap_or_default();
    let missing = "its Pod no longer exists, and this client did not delete it";
    let mut diagnosis = Diagnosis::default();
    diagnosis.is_final = true;
    let problem = end_from_events(&cluster_events);
    diagnosis.reason = problem.as_ref().map(|problem| problem.reason);
    diagnosis.end = Some(
        problem
            .as_ref()
            .map_or(EndCause::Deleted, |problem| problem.end),
    );
    diagnosis.summary = match problem {
        Some(Problem { message, .. }) => format!("{missing}: {message}"),
        None => missing.into(),
    };
    diagnosis.events = cluster_events.iter().filter_map(cluster_event).collect();
    diagnosis.events.sort_by_key(|event| event.at);
    diagnosis
}

/// Whether the status of an ended sandbox does not name the cause.
fn may_events_explain(view: &PodView) -> bool {
    view.problem
        .as_ref()
        .is_none_or(|problem| problem.is_unexplained)
}

/// Reads the cluster's events of a Pod. If the Pod waits for a reason that nothing names yet, the events are read
/// again for a while: a busy kubelet reports late. If its status has no problem at all, the sources of its volumes
/// are looked for as well.
async fn read_events(
    shared: &Shared,
    view: &PodView,
    deadline: Deadline,
) -> (Vec<Event>, SourceCheck) {
    let problem = view.problem.as_ref();
    let is_waiting = view.state == SandboxState::Pending
        && view.scheduled.is_some()
        && problem.is_none_or(Problem::is_vague);
    let mut sources = None;
    loop {
        let read = list_events(shared, &view.id, &view.uid, deadline).await;
        let is_readable = read.is_some();
        let events = read.unwrap_or_default();
        let names_a_problem = || {
            let events: Vec<_> = events.iter().filter_map(cluster_event).collect();
            problem_from_events(problem, &events).is_some()
        };
        if !is_waiting || names_a_problem() {
            return (events, SourceCheck::default());
        }
        if problem.is_none() && sources.is_none() {
            sources = Some(check_sources(shared, &view.id, deadline).await);
        }
        let is_missing = sources
            .as_ref()
            .is_some_and(|found| found.missing.is_some());
        if is_missing || !is_readable || deadline.remaining() < EVENTS_PAUSE {
            return (events, sources.unwrap_or_default());
        }
        sleep(EVENTS_PAUSE).await;
    }
}

/// Returns `None` if the events cannot be read, for example because the permission is missing.
async fn list_events(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    deadline: Deadline,
) -> Option<Vec<Event>> {
    let read = shared.api().list_events(uid, deadline).await;
    read.inspect_err(|error| tracing::debug!(sandbox.id = %id, %error, "cluster events not read"))
        .ok()
}

/// Describes a Pod on a node that has not reported why its container does not run.
fn describe_starting(sources: &SourceCheck) -> String {
    let starting = "its container is being started";
    if sources.unreadable.is_empty() {
        return starting.into();
    }
    let names: Vec<_> = sources.unreadable.iter().map(ToString::to_string).collect();
    let pronoun = if names.len() == 1 {
        "it exists"
    } else {
        "they exist"
    };
    format!(
        "{starting}; its volumes need {}, which this account may not read: check that {pronoun}",
        names.join(" and ")
    )
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

/// Returns the last lines of the log of the container that the problem is about, or an empty string if
/// they cannot be read soon.
async fn read_log(shared: &Shared, view: &PodView, deadline: Deadline) -> String {
    let other = view
        .problem
        .as_ref()
        .and_then(|problem| problem.container.as_deref());
    // A kubelet reports a start late, when the server may have answered already.
    let may_run = view.scheduled.is_some() && view.problem.is_none();
    let has_log = other.is_some() || view.started_at.is_some() || may_run;
    if !has_log || !view.termination_message.is_empty() {
        return view.termination_message.clone();
    }
    let container = other.unwrap_or(CONTAINER);
    let read = read_log_tail(shared, &view.id, container, LOG_TAIL_LINES, LOG_TAIL_BYTES);
    match deadline.bound("reading the log", read).await {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(sandbox.id = %view.id, %error, "log not read");
            String::new()
        }
    }
}
