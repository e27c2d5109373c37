//! What happens to a sandbox, and why.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use sandbox_core::{EventStream, Result, SandboxEvent, SandboxEventKind, SandboxId, SandboxState};
use tokio::time::Instant;

use super::cluster_events::{Pulling, Said};
use super::shared::Shared;
use crate::observe::status::{PodView, Trouble, events_since, explained};
use crate::observe::watch::Follow;

/// The steps of a sandbox, those of the past first.
pub(super) async fn events(shared: &Arc<Shared>, id: &SandboxId) -> Result<EventStream> {
    let view = shared.find(id).await?;
    let story = Story {
        shared: Arc::clone(shared),
        follow: shared.watch.follow(id, &view.uid),
        pulling: Pulling::of(Arc::clone(&shared.watch), view.uid.clone()),
        grace: shared.options.startup_grace,
        seen: None,
        troubled: None,
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
    pulling: Pulling,
    grace: Duration,
    seen: Option<Arc<PodView>>,
    /// Since when it has not been without trouble.
    troubled: Option<Instant>,
    /// What was said of that trouble last that said anything.
    words: Option<String>,
    over: bool,
}

impl Story {
    async fn next(&mut self) -> Vec<Result<SandboxEvent>> {
        let patience = self.patience();
        let impatience = async {
            match patience {
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
            .learn_of_volumes(&view.uid, view.trouble.as_ref());
        match &view.trouble {
            Some(trouble) => self.trouble(trouble),
            None => self.comes_on(),
        }
        self.seen = Some(view);
        told.into_iter().map(Ok).collect()
    }

    /// Until when what stands in its way may go away.
    fn patience(&self) -> Option<Instant> {
        let view = self
            .seen
            .as_ref()
            .filter(|view| view.state == SandboxState::Pending)?;
        let limit = view
            .trouble
            .as_ref()
            .map_or(self.grace, |trouble| trouble.patience.limit(self.grace));
        self.troubled?.checked_add(limit)
    }

    /// The cluster's events are all that tells of a volume that cannot be mounted.
    fn heard(&mut self, said: Said) -> Vec<Result<SandboxEvent>> {
        let status = self.seen.as_ref().and_then(|view| view.trouble.as_ref());
        match said {
            Said::Progress(told) => {
                if status.is_none() {
                    self.comes_on();
                }
                told.into_iter().map(Ok).collect()
            }
            Said::Remark(told) => vec![Ok(told)],
            Said::Obstacle(told) => {
                let trouble = explained(status, std::slice::from_ref(&told));
                let mut events = vec![Ok(told)];
                if let (Some(trouble), Some(view)) = (trouble, self.seen.clone()) {
                    self.shared.learn_of_volumes(&view.uid, Some(&trouble));
                    self.trouble(&trouble);
                    if trouble.is_final() {
                        events.extend(self.lost_patience());
                    }
                }
                events
            }
        }
    }

    fn trouble(&mut self, trouble: &Trouble) {
        self.troubled.get_or_insert_with(Instant::now);
        if self.words.is_none() || !trouble.is_vague() {
            self.words = Some(trouble.message.clone());
        }
    }

    fn comes_on(&mut self) {
        (self.troubled, self.words) = (None, None);
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
