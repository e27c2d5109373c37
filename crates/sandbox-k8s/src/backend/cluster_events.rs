//! The cluster's own events of a Pod that is slow to start: that an image is being fetched, or a
//! volume cannot be mounted, stands nowhere else.
//!
//! They are asked for only while somebody listens, and only when the Pod has had a machine for a
//! while and does not run: one watch, of this Pod's events alone. Who may not have them does
//! without.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

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

/// How long a Pod may be silent once it has a machine: with its images present it runs by then.
const SLOW: Duration = Duration::from_millis(1500);
/// How long one watch lasts; fetching an image seldom takes longer.
const LASTS: Duration = Duration::from_secs(290);
/// What the Pod's own status tells as well.
const TOLD: [&str; 4] = ["Failed", "BackOff", "FailedScheduling", "ErrImageNeverPull"];
/// Warnings of what has to be done before the first container can begin. Others, such as
/// `DNSConfigForming`, say what could be better, and a Pod starts all the same.
const BLOCKING: [&str; 5] = [
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "NetworkNotReady",
];
/// Before an event watch that has ended, or could not be begun, is begun again.
const PAUSE: Duration = Duration::from_secs(5);

/// What the cluster said of a Pod, and what it means for those who wait.
#[derive(Debug, PartialEq)]
pub(super) enum ClusterEvent {
    /// It comes on: what stood in its way does not any more. The event, where it is one to tell.
    Progress(Option<SandboxEvent>),
    /// Something stands in its way.
    Obstacle(SandboxEvent),
    /// Something else.
    Remark(SandboxEvent),
}

/// What the cluster says of one Pod besides its status.
pub(super) struct ClusterEvents {
    watch: Arc<Watch>,
    uid: Uid,
    state: State,
    /// Of the last event that was heard.
    version: String,
}

enum State {
    /// Not yet, or not any more.
    Off,
    Due(Instant),
    On(Pin<Box<dyn Stream<Item = Result<Vec<u8>, WatchError>> + Send>>),
    /// We may not have them.
    Forbidden,
}

/// What a watch begins with that shall show all there is: a list is not needed.
const ALL: &str = "0";

impl ClusterEvents {
    pub(super) fn of(watch: Arc<Watch>, uid: Uid) -> Self {
        Self {
            watch,
            uid,
            state: State::Off,
            version: ALL.to_owned(),
        }
    }

    /// Takes note of how far the Pod has come.
    pub(super) fn look(&mut self, view: &PodView) {
        let waits =
            view.state == SandboxState::Pending && view.scheduled.is_some() && !view.deleting;
        match &self.state {
            _ if !waits => self.state = State::Off,
            State::Off => self.state = State::Due(Instant::now() + SLOW),
            State::Due(_) | State::On(_) | State::Forbidden => {}
        }
    }

    /// What is said next; never, when there is nothing to hear. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> ClusterEvent {
        loop {
            match &mut self.state {
                State::Off | State::Forbidden => return future::pending().await,
                State::Due(at) => {
                    tokio::time::sleep_until(*at).await;
                    self.state = State::On(self.listen());
                }
                State::On(lines) => match lines.next().await {
                    Some(Ok(line)) => {
                        if let Some(said) = self.hear(&line) {
                            return said;
                        }
                    }
                    Some(Err(refused)) => {
                        tracing::debug!(%refused, "the cluster's events cannot be watched");
                        self.state = match refused.is_final() {
                            true => State::Forbidden,
                            false => {
                                State::Due(Instant::now() + refused.retry_after().unwrap_or(PAUSE))
                            }
                        };
                        self.version = ALL.to_owned();
                    }
                    None => self.state = State::Due(Instant::now() + PAUSE),
                },
            }
        }
    }

    fn hear(&mut self, line: &[u8]) -> Option<ClusterEvent> {
        let event = match serde_json::from_slice::<WatchEvent<Event>>(line) {
            Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => event,
            // What it shows next time is all there is.
            Ok(WatchEvent::Error(_)) | Err(_) => {
                self.version = ALL.to_owned();
                return None;
            }
            Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => return None,
        };
        if let Some(version) = &event.metadata.resource_version {
            self.version.clone_from(version);
        }
        said(&event)
    }

    fn listen(&self) -> Pin<Box<dyn Stream<Item = Result<Vec<u8>, WatchError>> + Send>> {
        let (watch, uid, version) = (
            Arc::clone(&self.watch),
            self.uid.clone(),
            self.version.clone(),
        );
        let begun = stream::once(async move {
            let body = watch
                .api
                .open_event_watch(&uid, &version, LASTS, Deadline::from_now(LOOKUP_TIMEOUT))
                .await?;
            let lines = Lines::new(body.into_data_stream());
            // One that is cut is begun again, as one that has ended.
            Ok(stream::unfold(lines, |mut lines| async {
                Some((Ok(lines.next().await.ok()??), lines))
            }))
        });
        Box::pin(begun.flat_map(|begun| match begun {
            Ok(lines) => lines.left_stream(),
            Err(refused) => stream::once(future::ready(Err(refused))).right_stream(),
        }))
    }
}

fn said(event: &Event) -> Option<ClusterEvent> {
    let reason = event.reason.as_deref().unwrap_or_default();
    if event.type_.as_deref() != Some("Warning") {
        let told = cluster_event(event).filter(|told| told.kind == SandboxEventKind::Pulling);
        return Some(ClusterEvent::Progress(told));
    }
    if TOLD.contains(&reason) {
        return None;
    }
    let told = cluster_event(event)?;
    Some(if BLOCKING.contains(&reason) {
        ClusterEvent::Obstacle(told)
    } else {
        ClusterEvent::Remark(told)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_an_event_means_for_those_who_wait() {
        let of = |kind: &str, reason: &str| {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "type": kind,
                               "message": "m", "lastTimestamp": "2026-01-01T00:00:01Z"});
            said(&serde_json::from_value(event).unwrap())
        };
        let kind = |said: Option<ClusterEvent>| match said {
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
            // The Pod's status tells these as well.
            ("Warning", "Failed", ("nothing", None)),
            ("Warning", "FailedScheduling", ("nothing", None)),
        ] {
            assert_eq!(kind(of(type_, reason)), expected, "{reason}");
        }
    }
}
