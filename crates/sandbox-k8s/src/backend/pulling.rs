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
use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::{WatchEvent, WatchParams};
use sandbox_core::{SandboxEvent, SandboxEventKind, SandboxState, Uid};
use tokio::time::Instant;

use crate::status::{PodView, cluster_event};
use crate::watch::Watch;

/// How long a Pod may be silent once it has a machine: with its images present it runs by then.
const SLOW: Duration = Duration::from_millis(1500);
/// How long one watch lasts, in seconds; fetching an image seldom takes longer.
const LASTS: u32 = 290;
/// What the Pod's own status tells as well.
const TOLD: [&str; 4] = ["Failed", "BackOff", "FailedScheduling", "ErrImageNeverPull"];

/// What the cluster says of one Pod besides its status.
pub(super) struct Pulling {
    watch: Arc<Watch>,
    uid: Uid,
    state: State,
}

enum State {
    /// Not yet, or not any more.
    Off,
    Due(Instant),
    On(Pin<Box<dyn Stream<Item = SandboxEvent> + Send>>),
}

impl Pulling {
    pub(super) fn of(watch: Arc<Watch>, uid: Uid) -> Self {
        Self { watch, uid, state: State::Off }
    }

    /// Takes note of how far the Pod has come.
    pub(super) fn look(&mut self, view: &PodView) {
        let waits = view.state == SandboxState::Pending && view.scheduled.is_some() && !view.deleting;
        match &self.state {
            _ if !waits => self.state = State::Off,
            State::Off => self.state = State::Due(Instant::now() + SLOW),
            State::Due(_) | State::On(_) => {}
        }
    }

    /// The next event; never, when there is nothing to tell. Dropping the future loses none.
    pub(super) async fn next(&mut self) -> SandboxEvent {
        loop {
            match &mut self.state {
                State::Off => return future::pending().await,
                State::Due(at) => {
                    tokio::time::sleep_until(*at).await;
                    self.state = State::On(self.listen());
                }
                State::On(events) => match events.next().await {
                    Some(event) => return event,
                    None => return future::pending().await,
                },
            }
        }
    }

    fn listen(&self) -> Pin<Box<dyn Stream<Item = SandboxEvent> + Send>> {
        let caller = &self.watch.caller;
        let events: Api<Event> = Api::namespaced(caller.client.clone(), &caller.namespace);
        let params = WatchParams::default()
            .fields(&format!("involvedObject.uid={}", self.uid))
            .disable_bookmarks()
            .timeout(LASTS);
        // From "0", a watch begins with all that there is: a list is not needed.
        let begun = stream::once(async move { events.watch(&params, "0").await });
        let events = begun.filter_map(|begun| {
            future::ready(begun.map_err(|error| tracing::debug!(%error, "events cannot be watched")).ok())
        });
        Box::pin(events.flatten().filter_map(|news| future::ready(news.ok().and_then(|news| told(&news)))))
    }
}

fn told(news: &WatchEvent<Event>) -> Option<SandboxEvent> {
    let (WatchEvent::Added(event) | WatchEvent::Modified(event)) = news else { return None };
    if TOLD.contains(&event.reason.as_deref().unwrap_or_default()) {
        return None;
    }
    let ours = cluster_event(event)?;
    matches!(ours.kind, SandboxEventKind::Pulling | SandboxEventKind::Warning).then_some(ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_status_does_not_tell_is_told() {
        let of = |kind: &str, reason: &str| {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "type": kind,
                               "message": "m", "lastTimestamp": "2026-01-01T00:00:01Z"});
            told(&WatchEvent::Added(serde_json::from_value(event).unwrap())).map(|event| event.kind)
        };
        assert_eq!(of("Normal", "Pulling"), Some(SandboxEventKind::Pulling));
        assert_eq!(of("Warning", "FailedMount"), Some(SandboxEventKind::Warning));
        for (kind, reason) in [
            ("Normal", "Scheduled"),
            ("Normal", "Started"),
            ("Normal", "Pulled"),
            ("Warning", "Failed"),
            ("Warning", "FailedScheduling"),
        ] {
            assert_eq!(of(kind, reason), None, "{reason}");
        }
    }
}
