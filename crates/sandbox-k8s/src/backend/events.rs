//! What happens to a sandbox, and why.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use sandbox_core::{EventStream, Result, SandboxEvent, SandboxEventKind, SandboxId, SandboxState};
use tokio::time::Instant;

use super::cluster_events::{ClusterEvent, ClusterEvents};
use super::shared::Shared;
use crate::observe::status::{PodView, Problem, events_since, explained};
use crate::observe::watch::Follow;

/// The steps of a sandbox, those of the past first.
pub(super) async fn events(shared: &Arc<Shared>, id: &SandboxId) -> Result<EventStream> {
    let view = shared.find(id).await?;
    let story = Story {
        shared: Arc::clone(shared),
        follow: shared.watch.follow(id, &view.uid),
        pulling: ClusterEvents::of(Arc::clone(&shared.watch), view.uid.clone()),
        grace: shared.options.startup_grace,
        seen: None,
        problem_since: None,
        words: None,
        over: false,
    };
    let pieces = stream::unfold(story, |mut story| async move {
        if story.over {
            return None;
        }
        let piece = story.next().await;
        Some((stream::iter(piece), story))
    });
    Ok(Box::pin(pieces.flatten()))
}

struct Story {
    shared: Arc<Shared>,
    follow: Follow,
    pulling: ClusterEvents,
    grace: Duration,
    seen: Option<Arc<PodView>>,
    /// Since when it has not been without trouble.
    problem_since: Option<Instant>,
    /// What was said of that trouble last that said anything.
    words: Option<String>,
    over: bool,
}

impl Story {
    async fn next(&mut self) -> Vec<Result<SandboxEvent>> {
        let wait_limit = self.wait_limit();
        let impatience = async {
            match wait_limit {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            biased;
            next = self.follow.next(self.seen.as_ref()) => next,
            said = self.pulling.next() => return self.heard(said),
            () = impatience => return self.lost_patience(),
        };
        let now = SystemTime::now();
        let view = match next {
            Ok(Some(view)) => view,
            Ok(None) => {
                self.over = true;
                return vec![Ok(event(now, SandboxEventKind::Deleted, "its Pod is gone"))];
            }
            Err(error) => {
                self.over = true;
                return vec![Err(error)];
            }
        };
        let told = events_since(self.seen.as_deref(), &view, now);
        self.over = told.iter().any(|event| event.kind.is_final());
        self.pulling.look(&view);
        self.shared
            .record_volume_failure(&view.uid, view.problem.as_ref());
        match &view.problem {
            Some(problem) => self.problem(problem),
            None => self.comes_on(),
        }
        self.seen = Some(view);
        told.into_iter().map(Ok).collect()
    }

    /// Until when what stands in its way may go away.
    fn wait_limit(&self) -> Option<Instant> {
        let view = self
            .seen
            .as_ref()
            .filter(|view| view.state == SandboxState::Pending)?;
        let limit = view
            .problem
            .as_ref()
            .map_or(self.grace, |problem| problem.wait_limit.limit(self.grace));
        self.problem_since?.checked_add(limit)
    }

    /// The cluster's events are all that tells of a volume that cannot be mounted.
    fn heard(&mut self, said: ClusterEvent) -> Vec<Result<SandboxEvent>> {
        let status = self.seen.as_ref().and_then(|view| view.problem.as_ref());
        match said {
            ClusterEvent::Progress(told) => {
                if status.is_none() {
                    self.comes_on();
                }
                told.into_iter().map(Ok).collect()
            }
            ClusterEvent::Remark(told) => vec![Ok(told)],
            ClusterEvent::Obstacle(told) => {
                let problem = explained(status, std::slice::from_ref(&told));
                let mut events = vec![Ok(told)];
                if let (Some(problem), Some(view)) = (problem, self.seen.clone()) {
                    self.shared.record_volume_failure(&view.uid, Some(&problem));
                    self.problem(&problem);
                    if problem.is_final() {
                        events.extend(self.lost_patience());
                    }
                }
                events
            }
        }
    }

    fn problem(&mut self, problem: &Problem) {
        self.problem_since.get_or_insert_with(Instant::now);
        if self.words.is_none() || !problem.is_vague() {
            self.words = Some(problem.message.clone());
        }
    }

    fn comes_on(&mut self) {
        (self.problem_since, self.words) = (None, None);
    }

    fn lost_patience(&mut self) -> Vec<Result<SandboxEvent>> {
        self.over = true;
        let message = self.words.take().unwrap_or_default();
        vec![Ok(event(
            SystemTime::now(),
            SandboxEventKind::Failed,
            &message,
        ))]
    }
}

fn event(at: SystemTime, kind: SandboxEventKind, message: &str) -> SandboxEvent {
    SandboxEvent {
        at,
        kind,
        message: message.to_owned(),
    }
}
