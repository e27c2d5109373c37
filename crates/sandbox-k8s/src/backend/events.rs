//! The stream of events of a sandbox.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use sandbox_core::{
    CreationReason, EventStream, Result, SandboxEvent, SandboxEventKind, SandboxId, SandboxState,
    Uid,
};
use tokio::time::Instant;

use super::cluster_events::{ClusterEvent, ClusterEvents};
use super::shared::Shared;
use crate::observe::status::{PodView, Problem, events_since, problem_from_events};
use crate::observe::watch::Follower;

/// Returns the events of a sandbox, starting with those of the past. The stream ends after a final event.
pub(super) async fn events(shared: &Arc<Shared>, id: &SandboxId) -> Result<EventStream> {
    let view = shared.find(id).await?;
    let source = EventSource {
        shared: Arc::clone(shared),
        uid: view.uid.clone(),
        follow: shared.watch.follow(id, &view.uid),
        cluster_events: ClusterEvents::new(Arc::clone(&shared.cluster_events), view.uid.clone()),
        grace: shared.options.startup_grace,
        waits_for_room: shared
            .records
            .get(&view.uid)
            .is_some_and(|record| record.waits_for_room),
        last: None,
        problem_since: None,
        problem_message: None,
        has_obstacle: false,
        has_ended: false,
    };
    let batches = stream::unfold(source, |mut source| async move {
        if source.has_ended {
            return None;
        }
        let batch = source.next_batch().await;
        Some((stream::iter(batch), source))
    });
    Ok(Box::pin(batches.flatten()))
}

/// Merges changes of the Pod, the cluster's events, and the timeout of a problem into one stream.
struct EventSource {
    shared: Arc<Shared>,
    uid: Uid,
    follow: Follower,
    cluster_events: ClusterEvents,
    grace: Duration,
    /// Whether a Pod that no node has room for is waited for without limit.
    waits_for_room: bool,
    /// The Pod as it was observed last.
    last: Option<Arc<PodView>>,
    /// Since when there has been a problem without interruption.
    problem_since: Option<Instant>,
    /// The last message about that problem that was not vague.
    problem_message: Option<String>,
    /// Whether one of the cluster's events has reported the problem, which the status does not show.
    has_obstacle: bool,
    has_ended: bool,
}

impl EventSource {
    /// Waits for whatever comes first. The batch may be empty.
    async fn next_batch(&mut self) -> Vec<Result<SandboxEvent>> {
        let deadline = self.problem_deadline();
        let uploads = &self.shared.connect_state.uploads;
        let problem_timeout = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            next = self.follow.next(self.last.as_ref()) => next,
            event = self.cluster_events.next() => return self.handle_cluster_event(event),
            failure = uploads.wait_for_failure(&self.uid) => {
                self.problem_message = Some(failure.message);
                return self.fail();
            }
            () = problem_timeout => return self.fail(),
        };
        let now = SystemTime::now();
        let view = match next {
            Ok(Some(view)) => view,
            Ok(None) => {
                self.has_ended = true;
                let message = "its Pod no longer exists";
                return vec![Ok(event(now, SandboxEventKind::Deleted, message))];
            }
            Err(error) => {
                self.has_ended = true;
                return vec![Err(error)];
            }
        };
        let events = events_since(self.last.as_deref(), &view, now);
        self.has_ended = events.iter().any(|event| event.kind.is_final());
        self.cluster_events.observe(&view);
        self.shared
            .record_volume_failure(&view.uid, view.problem.as_ref());
        match &view.problem {
            Some(problem)
                if self.waits_for_room && problem.reason == CreationReason::Unschedulable =>
            {
                self.clear_problem();
            }
            Some(problem) => self.record_problem(problem),
            // A kubelet writes more of the status while a volume cannot be mounted.
            None if self.has_obstacle && !has_progressed(self.last.as_deref(), &view) => {}
            None => self.clear_problem(),
        }
        self.last = Some(view);
        events.into_iter().map(Ok).collect()
    }

    /// When the current problem counts as permanent.
    fn problem_deadline(&self) -> Option<Instant> {
        let view = self
            .last
            .as_ref()
            .filter(|view| view.state == SandboxState::Pending)?;
        let limit = view
            .problem
            .as_ref()
            .map_or(self.grace, |problem| problem.wait_limit.limit(self.grace));
        self.problem_since?.checked_add(limit)
    }

    /// Handles one of the cluster's events, the only source for a volume that cannot be mounted.
    fn handle_cluster_event(&mut self, cluster_event: ClusterEvent) -> Vec<Result<SandboxEvent>> {
        let status_problem = self.last.as_ref().and_then(|view| view.problem.as_ref());
        match cluster_event {
            ClusterEvent::Progress(event) => {
                if status_problem.is_none() {
                    self.clear_problem();
                }
                event.into_iter().map(Ok).collect()
            }
            ClusterEvent::Remark(event) => vec![Ok(event)],
            ClusterEvent::Obstacle(event) => {
                let problem = problem_from_events(status_problem, std::slice::from_ref(&event));
                let mut events = vec![Ok(event)];
                if let (Some(problem), Some(view)) = (problem, self.last.clone()) {
                    self.shared.record_volume_failure(&view.uid, Some(&problem));
                    self.record_problem(&problem);
                    self.has_obstacle = true;
                    if problem.is_final() {
                        events.extend(self.fail());
                    }
                }
                events
            }
        }
    }

    fn record_problem(&mut self, problem: &Problem) {
        self.problem_since.get_or_insert_with(Instant::now);
        if self.problem_message.is_none() || !problem.is_vague() {
            self.problem_message = Some(problem.message.clone());
        }
    }

    fn clear_problem(&mut self) {
        self.problem_since = None;
        self.problem_message = None;
        self.has_obstacle = false;
    }

    /// Ends the stream, because the problem has lasted too long.
    fn fail(&mut self) -> Vec<Result<SandboxEvent>> {
        self.has_ended = true;
        let message = self.problem_message.take().unwrap_or_default();
        vec![Ok(event(
            SystemTime::now(),
            SandboxEventKind::Failed,
            &message,
        ))]
    }
}

/// Whether a Pod has come closer to its start, or has ended.
fn has_progressed(before: Option<&PodView>, view: &PodView) -> bool {
    before.is_none_or(|before| {
        before.state != view.state
            || before.started_at != view.started_at
            || before.address != view.address
            || before.problem.is_some()
    })
}

fn event(at: SystemTime, kind: SandboxEventKind, message: &str) -> SandboxEvent {
    SandboxEvent {
        at,
        kind,
        message: message.to_owned(),
    }
}
