//! The events of one Pod that were received and not yet read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use sandbox_core::{SandboxEvent, SandboxEventKind, Uid};
use tokio::sync::Notify;

use super::classify::ClusterEvent;
use super::feed::EventFeed;
use crate::lock::lock;

/// How many events of one Pod are kept until they are read. A kubelet repeats an event in place, so few Pods have more
/// than a dozen.
const MAX_EVENTS: usize = 64;
/// How much of a message is kept. Kubernetes' own are at most 1 KiB, but whoever may write events can write more.
const MAX_MESSAGE: usize = 4096;

/// Listens to the events of a Pod, until it is dropped.
pub(super) struct Listener {
    pub(super) feed: Weak<EventFeed>,
    pub(super) uid: Uid,
    pub(super) queue: Arc<Queue>,
    /// Whether events from before the listener are needed.
    pub(super) wants_past: bool,
    /// Whether the watch has to run for this listener.
    pub(super) is_required: bool,
}

impl Listener {
    /// Returns the next event. Dropping the future loses no event.
    pub(super) async fn next(&mut self) -> ClusterEvent {
        loop {
            if let Some(event) = self.queue.pop() {
                return event;
            }
            self.queue.arrived.notified().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(feed) = self.feed.upgrade() {
            feed.forget(self);
        }
    }
}

/// The events of a Pod, the oldest first.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Default)]
struct State {
    events: VecDeque<ClusterEvent>,
    /// The events that were received last, by uid and version. A watch that begins again repeats them.
    received: VecDeque<(String, String)>,
    left_out: usize,
}

impl Queue {
    /// Adds an event that has this uid and version, unless it was received before.
    pub(super) fn push(&self, (uid, version): (&str, &str), event: Option<ClusterEvent>) {
        let mut state = lock(&self.state);
        if state
            .received
            .iter()
            .any(|(former, seen)| former == uid && seen == version)
        {
            return;
        }
        if state.received.len() == MAX_EVENTS {
            state.received.pop_front();
        }
        state
            .received
            .push_back((uid.to_owned(), version.to_owned()));
        let Some(event) = event else { return };
        if state.events.len() == MAX_EVENTS {
            state.events.pop_front();
            state.left_out += 1;
        }
        state.events.push_back(shorten(event));
        self.arrived.notify_one();
    }

    fn pop(&self) -> Option<ClusterEvent> {
        let mut state = lock(&self.state);
        let left_out = std::mem::take(&mut state.left_out);
        if left_out > 0 {
            return Some(ClusterEvent::Remark(SandboxEvent {
                at: SystemTime::now(),
                kind: SandboxEventKind::Warning,
                message: format!("{left_out} events of the cluster are left out here"),
            }));
        }
        state.events.pop_front()
    }
}

fn shorten(event: ClusterEvent) -> ClusterEvent {
    match event {
        ClusterEvent::Progress(event) => ClusterEvent::Progress(event.map(shorten_message)),
        ClusterEvent::Obstacle(event) => ClusterEvent::Obstacle(shorten_message(event)),
        ClusterEvent::Remark(event) => ClusterEvent::Remark(shorten_message(event)),
    }
}

fn shorten_message(mut event: SandboxEvent) -> SandboxEvent {
    if event.message.len() > MAX_MESSAGE {
        let end = event.message.floor_char_boundary(MAX_MESSAGE);
        event.message.truncate(end);
        event.message.push_str(" (shortened)");
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(message: String) -> ClusterEvent {
        ClusterEvent::Remark(SandboxEvent {
            at: SystemTime::UNIX_EPOCH,
            kind: SandboxEventKind::Warning,
            message,
        })
    }

    fn message(queue: &Queue) -> String {
        match queue.pop() {
            Some(ClusterEvent::Remark(event)) => event.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_repeated_event_is_received_once() {
        let queue = Queue::default();
        for (uid, version) in [("a", "1"), ("a", "1"), ("b", "2"), ("a", "1"), ("a", "3")] {
            queue.push((uid, version), Some(remark(format!("{uid}{version}"))));
        }
        for expected in ["a1", "b2", "a3"] {
            assert_eq!(message(&queue), expected);
        }
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn the_memory_of_a_listener_is_bounded() {
        let queue = Queue::default();
        for number in 0..1000 {
            let event = remark("é".repeat(MAX_MESSAGE));
            queue.push(("e", &number.to_string()), Some(event));
        }
        assert_eq!(
            message(&queue),
            "936 events of the cluster are left out here"
        );
        for _ in 0..MAX_EVENTS {
            let text = message(&queue);
            assert!(text.len() < MAX_MESSAGE + 20 && text.ends_with(" (shortened)"));
        }
        assert_eq!(queue.pop(), None);
        assert_eq!(lock(&queue.state).received.len(), MAX_EVENTS);
    }
}
