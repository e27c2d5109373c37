//! What happens to a sandbox, and why.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Deadline, Diagnosis, Error, EventStream, LogOptions, Result, SandboxEvent, SandboxEventKind,
    SandboxId, SandboxInfo, SandboxState,
};
use tokio::time::Instant;

use super::Shared;
use super::logs::logs;
use super::pulling::{Pulling, Said};
use crate::labels::{self, ENDS_AFTER};
use crate::pod::CONTAINER;
use crate::status::{PodView, Trouble, cluster_event, events_since, explained};
use crate::watch::{ASK, Follow, of_ours};

/// How much of a log explains an end.
const TAIL: usize = 20;
/// How long a log may take to come when it is only to explain something.
const TAIL_WAIT: Duration = Duration::from_secs(3);

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
    diagnosis.has_fallback = shared.learn_of_volumes(&view.uid, view.trouble.as_ref());
    diagnosis.reason = view.trouble.as_ref().map(|trouble| trouble.reason);
    diagnosis.summary = match (&view.trouble, view.state) {
        (Some(trouble), _) => trouble.message.clone(),
        (None, SandboxState::Ended) if view.deleting => "its Pod is being deleted".into(),
        (None, SandboxState::Ended) => "its Pod has ended".into(),
        (None, SandboxState::Running) => running(&view),
        (None, _) if view.scheduled.is_some() => "its container is being started".into(),
        (None, _) => "it has no machine yet".into(),
    };
    let deadline = Deadline::from_now(TAIL_WAIT);
    let asked = tokio::join!(
        shared.caller().events_of(&view.uid, deadline),
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
        && let Some(more) = explained(view.trouble.as_ref(), &diagnosis.events)
    {
        diagnosis.has_fallback |= shared.learn_of_volumes(&view.uid, Some(&more));
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
        .bound("read the log", read)
        .await
    {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(sandbox.id = %view.id, %error, "the log cannot be read");
            String::new()
        }
    }
}

pub(super) async fn extend(shared: &Shared, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
    let not_found = || Error::NotFound { id: id.clone() };
    let found = shared
        .caller()
        .get::<Pod>(id, Deadline::from_now(ASK))
        .await?;
    let (pod, now) = found.ok_or_else(not_found)?;
    let view = of_ours(&pod)
        .filter(|view| view.state != SandboxState::Ended)
        .ok_or_else(not_found)?;
    // Nobody's clock counts but the API server's; ours stands in where a proxy took it away.
    let now = now.unwrap_or_else(SystemTime::now);
    // Never shorter: its server does not take life back either.
    if now
        .checked_add(ttl)
        .is_some_and(|until| until <= view.ends.soft)
    {
        return Ok(view.info());
    }
    let after = labels::extended(&view.ends, view.created_at, now, ttl);
    let changed = shared
        .caller()
        .annotate(id, &view.uid, (ENDS_AFTER, &after), Deadline::from_now(ASK))
        .await?;
    let view = changed
        .and_then(|pod| of_ours(&pod))
        .ok_or_else(not_found)?;
    let info = view.info();
    let ends = view.state == SandboxState::Ended;
    shared.watch.wrote(view);
    // Whoever deleted it in between was faster.
    if ends { Err(not_found()) } else { Ok(info) }
}

fn event(at: SystemTime, kind: SandboxEventKind, message: &str) -> SandboxEvent {
    SandboxEvent {
        at,
        kind,
        message: message.to_owned(),
    }
}
