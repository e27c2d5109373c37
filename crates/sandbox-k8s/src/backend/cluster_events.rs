//! The cluster's events of a Pod that starts slowly. They are the only place that says that an image is being
//! pulled, or that a volume cannot be mounted.
//!
//! They are watched only while a caller listens, and only if the Pod has had a node for a while and does not
//! run. The watch covers the events of this Pod alone. Without the permission for it, there are no such events.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Event;
use kube::core::WatchEvent;
use sandbox_core::{Deadline, SandboxEvent, SandboxEventKind, SandboxState, Uid};
use tokio::time::Instant;

use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::watch_error::WatchError;
use crate::observe::status::{PodView, cluster_event};
use crate::observe::watch::{Lines, Watch};

/// How long after its scheduling a Pod counts as slow. With its images present, it runs by then.
const SLOW_AFTER: Duration = Duration::from_millis(1500);
/// The duration of one watch. Pulling an image seldom takes longer.
const WATCH_DURATION: Duration = Duration::from_secs(290);
/// Reasons that the status of the Pod shows as well.
const IN_STATUS: [&str; 4] = ["Failed", "BackOff", "FailedScheduling", "ErrImageNeverPull"];
/// Warnings about steps that are necessary before the first container can start. A Pod starts in spite of others,
/// such as `DNSConfigForming`.
const BLOCKING: [&str; 5] = [
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "NetworkNotReady",
];
/// The pause before a watch that has ended or failed is opened again.
const PAUSE: Duration = Duration::from_secs(5);

/// One of the cluster's events, and what it means for the start of the Pod.
#[derive(Debug, PartialEq)]
pub(super) enum ClusterEvent {
    /// The Pod makes progress, so an earlier obstacle no longer exists. Contains the event, if it is worth reporting.
    Progress(Option<SandboxEvent>),
    /// Something blocks the start.
    Obstacle(SandboxEvent),
    /// A warning that does not block the start.
    Remark(SandboxEvent),
}

/// The cluster's events of one Pod.
pub(super) struct ClusterEvents {
    watch: Arc<Watch>,
    uid: Uid,
    state: State,
    /// The resource version of the last event.
    version: String,
}

enum State {
    /// The Pod does not need a watch.
    Off,
    /// The watch is to be opened then.
    Due(Instant),
    /// The lines of the watch.
    On(Pin<Box<dyn Stream<Item = Result<Bytes, WatchError>> + Send>>),
    /// The account lacks the permission.
    Forbidden,
}

/// The version that makes a watch start with all existing events, without a list.
const FROM_START: &str = "0";

impl ClusterEvents {
    pub(super) fn new(watch: Arc<Watch>, uid: Uid) -> Self {
        Self {
            watch,
            uid,
            state: State::Off,
            version: FROM_START.to_owned(),
        }
    }

    /// Opens or closes the watch, depending on the state of the Pod.
    pub(super) fn observe(&mut self, view: &PodView) {
        let is_starting =
            view.state == SandboxState::Pending && view.scheduled.is_some() && !view.deleting;
        match &self.state {
            _ if !is_starting => self.state = State::Off,
            State::Off => self.state = State::Due(Instant::now() + SLOW_AFTER),
            State::Due(_) | State::On(_) | State::Forbidden => {}
        }
    }

    /// Returns the next event; waits forever while there is no watch. Dropping the future loses no event.
    pub(super) async fn next(&mut self) -> ClusterEvent {
        loop {
            match &mut self.state {
                State::Off | State::Forbidden => return future::pending().await,
                State::Due(at) => {
                    tokio::time::sleep_until(*at).await;
                    self.state = State::On(self.open());
                }
                State::On(lines) => match lines.next().await {
                    Some(Ok(line)) => {
                        if let Some(event) = self.parse(&line) {
                            return event;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, "cluster events not watched");
                        self.state = if error.is_final() {
                            State::Forbidden
                        } else {
                            State::Due(Instant::now() + error.retry_after().unwrap_or(PAUSE))
                        };
                        self.version = FROM_START.to_owned();
                    }
                    None => self.state = State::Due(Instant::now() + PAUSE),
                },
            }
        }
    }

    fn parse(&mut self, line: &[u8]) -> Option<ClusterEvent> {
        let event = match serde_json::from_slice::<WatchEvent<Event>>(line) {
            Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => event,
            // The next watch starts with all events again.
            Ok(WatchEvent::Error(_)) | Err(_) => {
                self.version = FROM_START.to_owned();
                return None;
            }
            Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => return None,
        };
        if let Some(version) = &event.metadata.resource_version {
            self.version.clone_from(version);
        }
        classify_event(&event)
    }

    /// Opens a watch and returns its lines.
    fn open(&self) -> Pin<Box<dyn Stream<Item = Result<Bytes, WatchError>> + Send>> {
        let watch = Arc::clone(&self.watch);
        let uid = self.uid.clone();
        let version = self.version.clone();
        let opening = stream::once(async move {
            let body = watch
                .api
                .open_event_watch(
                    &uid,
                    &version,
                    WATCH_DURATION,
                    Deadline::from_now(LOOKUP_TIMEOUT),
                )
                .await?;
            let lines = Lines::new(body.into_data_stream());
            // A watch that is cut is opened again, like one that has ended.
            Ok(stream::unfold(lines, |mut lines| async {
                Some((Ok(lines.next().await.ok()??), lines))
            }))
        });
        Box::pin(opening.flat_map(|opened| match opened {
            Ok(lines) => lines.left_stream(),
            Err(error) => stream::once(future::ready(Err(error))).right_stream(),
        }))
    }
}

fn classify_event(event: &Event) -> Option<ClusterEvent> {
    let reason = event.reason.as_deref().unwrap_or_default();
    // The scheduler may report late what every Pod here has behind it.
    if reason == "Scheduled" {
        return None;
    }
    if event.type_.as_deref() != Some("Warning") {
        let progress = cluster_event(event).filter(|event| event.kind == SandboxEventKind::Pulling);
        return Some(ClusterEvent::Progress(progress));
    }
    if IN_STATUS.contains(&reason) {
        return None;
    }
    let warning = cluster_event(event)?;
    Some(if BLOCKING.contains(&reason) {
        ClusterEvent::Obstacle(warning)
    } else {
        ClusterEvent::Remark(warning)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_progress_obstacles_or_remarks() {
        let classify = |kind: &str, reason: &str| {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "type": kind,
                               "message": "m", "lastTimestamp": "2026-01-01T00:00:01Z"});
            classify_event(&serde_json::from_value(event).unwrap())
        };
        let kind = |event: Option<ClusterEvent>| match event {
            Some(ClusterEvent::Progress(event)) => ("progress", event.map(|event| event.kind)),
            Some(ClusterEvent::Obstacle(event)) => ("obstacle", Some(event.kind)),
            Some(ClusterEvent::Remark(event)) => ("remark", Some(event.kind)),
            None => ("nothing", None),
        };
        for (type_, reason, expected) in [
            (
                "Normal",
                "Pulling",
                ("progress", Some(SandboxEventKind::Pulling)),
            ),
            ("Normal", "Pulled", ("progress", None)),
            ("Normal", "Scheduled", ("nothing", None)),
            ("Normal", "SuccessfulAttachVolume", ("progress", None)),
            (
                "Warning",
                "FailedMount",
                ("obstacle", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "FailedCreatePodSandBox",
                ("obstacle", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "DNSConfigForming",
                ("remark", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "Unhealthy",
                ("remark", Some(SandboxEventKind::Warning)),
            ),
            // The status of the Pod shows these as well.
            ("Warning", "Failed", ("nothing", None)),
            ("Warning", "FailedScheduling", ("nothing", None)),
        ] {
            assert_eq!(kind(classify(type_, reason)), expected, "{reason}");
        }
    }
}
