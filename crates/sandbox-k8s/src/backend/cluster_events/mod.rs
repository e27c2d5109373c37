//! The cluster's events of Pods that start slowly. They are the only place that says that an image is being pulled,
//! or that a volume cannot be mounted.
//!
//! They are watched only while a caller listens, and only if a Pod has had a node for a while and does not run. All
//! such Pods of a client share one watch. Without the permission for it, there are no such events.

mod classify;
mod feed;
mod listener;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use sandbox_core::{SandboxState, Uid};
use tokio::time::Instant;

pub(super) use self::classify::ClusterEvent;
pub(super) use self::feed::EventFeed;
use self::listener::Listener;
use crate::observe::status::PodView;

/// How long after its scheduling a Pod counts as slow. With its images present, it runs by then.
const SLOW_AFTER: Duration = Duration::from_millis(1500);

/// The cluster's events of one Pod.
pub(super) struct ClusterEvents {
    feed: Arc<EventFeed>,
    uid: Uid,
    state: State,
}

enum State {
    /// The Pod has started or ended.
    Off,
    /// Its events are kept, if others are watched meanwhile. They are needed from then on, if it has a node.
    Early(Listener, Option<Instant>),
    /// It is slow, so that its events are watched.
    Slow(Listener),
}

impl ClusterEvents {
    pub(super) fn new(feed: Arc<EventFeed>, uid: Uid) -> Self {
        Self {
            feed,
            uid,
            state: State::Off,
        }
    }

    /// Begins or ends to listen, depending on the state of the Pod.
    pub(super) fn observe(&mut self, view: &PodView) {
        if view.state != SandboxState::Pending || view.deleting {
            self.state = State::Off;
            return;
        }
        if matches!(self.state, State::Off) {
            // The events of a Pod that has a node already may be over.
            let listener = self.feed.listen(&self.uid, view.scheduled.is_some());
            self.state = State::Early(listener, None);
        }
        if let State::Early(_, slow_at @ None) = &mut self.state
            && view.scheduled.is_some()
        {
            *slow_at = Some(Instant::now() + SLOW_AFTER);
        }
    }

    /// Returns the next event; waits forever while none is needed. Dropping the future loses no event.
    pub(super) async fn next(&mut self) -> ClusterEvent {
        loop {
            match &mut self.state {
                State::Off | State::Early(_, None) => return future::pending().await,
                State::Early(_, Some(slow_at)) => tokio::time::sleep_until(*slow_at).await,
                State::Slow(listener) => return listener.next().await,
            }
            if let State::Early(listener, _) = std::mem::replace(&mut self.state, State::Off) {
                self.state = State::Slow(listener);
            }
            if let State::Slow(listener) = &mut self.state {
                self.feed.require(listener);
            }
        }
    }
}
