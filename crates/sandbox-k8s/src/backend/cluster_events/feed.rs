//! The watch of the cluster's events that all listeners of a client share. It runs only while one of them needs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Event;
use kube::core::WatchEvent;
use sandbox_core::{Deadline, Uid};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::classify::classify_event;
use super::listener::{Listener, Queue};
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::api::watch_error::WatchError;
use crate::lock::lock;
use crate::observe::watch::Lines;

/// The duration of one watch. Pulling an image seldom takes longer.
const WATCH_DURATION: Duration = Duration::from_secs(290);
/// The pause before a watch that has ended or failed is opened again, and between two that begin with the past.
const PAUSE: Duration = Duration::from_secs(5);
/// How long the watch outlives the last listener that needs it: others may become slow.
const LINGER: Duration = Duration::from_secs(10);
/// The interval at which a forbidden watch is retried, because the right may be granted.
const FORBIDDEN_INTERVAL: Duration = Duration::from_secs(300);
/// The version that makes a watch start with all existing events, without a list.
const FROM_START: &str = "0";

/// The cluster's events of all Pods that a client listens to.
pub(in crate::backend) struct EventFeed {
    api: Arc<ApiClient>,
    state: Mutex<State>,
    /// Wakes the watch when a listener needs it, or none does any more.
    changed: Notify,
}

#[derive(Default)]
struct State {
    listeners: HashMap<Uid, Vec<Arc<Queue>>>,
    /// How many listeners need the watch.
    required: usize,
    /// Whether one of them needs events from before the watch.
    wants_past: bool,
    is_running: bool,
}

/// Why the watch was left.
enum Left {
    /// It was closed or failed.
    Ended(Option<WatchError>),
    /// The events since its version are lost.
    Expired,
    /// A listener needs events from before it.
    ForPast,
    /// No listener needs it.
    Idle,
}

impl EventFeed {
    pub(in crate::backend) fn new(api: Arc<ApiClient>) -> Arc<Self> {
        Arc::new(Self {
            api,
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Starts to keep the events of a Pod, as far as they are watched.
    pub(super) fn listen(self: &Arc<Self>, uid: &Uid, wants_past: bool) -> Listener {
        let queue = Arc::new(Queue::default());
        let mut state = lock(&self.state);
        let queues = state.listeners.entry(uid.clone()).or_default();
        queues.push(Arc::clone(&queue));
        Listener {
            feed: Arc::downgrade(self),
            uid: uid.clone(),
            queue,
            wants_past,
            is_required: false,
        }
    }

    /// Has the watch run for a listener, until that is dropped.
    pub(super) fn require(self: &Arc<Self>, listener: &mut Listener) {
        if std::mem::replace(&mut listener.is_required, true) {
            return;
        }
        let mut state = lock(&self.state);
        state.required += 1;
        state.wants_past |= listener.wants_past;
        if !std::mem::replace(&mut state.is_running, true) {
            tokio::spawn(run(Arc::clone(self)));
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Removes a listener.
    pub(super) fn forget(&self, listener: &Listener) {
        let mut state = lock(&self.state);
        if let Some(queues) = state.listeners.get_mut(&listener.uid) {
            queues.retain(|queue| !Arc::ptr_eq(queue, &listener.queue));
            if queues.is_empty() {
                state.listeners.remove(&listener.uid);
            }
        }
        if listener.is_required {
            state.required -= 1;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until no listener has needed the watch for a while, or one needs events from before it, which a watch
    /// that began at `began` cannot deliver.
    async fn wait_to_leave(&self, began: Instant) -> Left {
        loop {
            let (is_required, wants_past) = {
                let state = lock(&self.state);
                (state.required > 0, state.wants_past)
            };
            let (at, left) = match (is_required, wants_past) {
                (false, _) => (Instant::now() + LINGER, Left::Idle),
                (true, true) => (began + PAUSE, Left::ForPast),
                (true, false) => {
                    self.changed.notified().await;
                    continue;
                }
            };
            if tokio::time::timeout_at(at, self.changed.notified())
                .await
                .is_err()
            {
                return left;
            }
        }
    }

    /// Ends the task unless a listener needs it.
    fn end_if_idle(&self) -> bool {
        let mut state = lock(&self.state);
        if state.required == 0 {
            state.is_running = false;
        }
        !state.is_running
    }

    /// Watches from a version, and keeps that up to date.
    async fn watch(&self, version: &mut String) -> Left {
        let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
        let opened = self
            .api
            .open_event_watch(version, WATCH_DURATION, deadline)
            .await;
        let mut lines = match opened {
            Ok(body) => Lines::new(body.into_data_stream()),
            Err(error) if error.code == Some(410) => return Left::Expired,
            Err(error) => return Left::Ended(Some(error)),
        };
        // A watch that is cut is opened again, like one that has ended.
        while let Ok(Some(line)) = lines.next().await {
            match serde_json::from_slice::<WatchEvent<Event>>(&line) {
                Ok(WatchEvent::Added(event) | WatchEvent::Modified(event)) => {
                    if let Some(new) = &event.metadata.resource_version {
                        version.clone_from(new);
                    }
                    self.deliver(&event);
                }
                Ok(WatchEvent::Deleted(_) | WatchEvent::Bookmark(_)) => {}
                Ok(WatchEvent::Error(_)) | Err(_) => return Left::Expired,
            }
        }
        Left::Ended(None)
    }

    fn deliver(&self, event: &Event) {
        let Some(uid) = event.involved_object.uid.as_deref() else {
            return;
        };
        let state = lock(&self.state);
        let Some(queues) = state.listeners.get(&Uid::new(uid)) else {
            return;
        };
        let meta = &event.metadata;
        let uid = meta.uid.as_deref().unwrap_or_default();
        let version = meta.resource_version.as_deref().unwrap_or_default();
        for queue in queues {
            queue.push((uid, version), classify_event(event));
        }
    }
}

/// Watches while a listener needs it.
async fn run(feed: Arc<EventFeed>) {
    let mut version = FROM_START.to_owned();
    while !feed.end_if_idle() {
        let began = Instant::now();
        if std::mem::take(&mut lock(&feed.state).wants_past) {
            version = FROM_START.to_owned();
        }
        let left = tokio::select! {
            biased;
            left = feed.wait_to_leave(began) => left,
            left = feed.watch(&mut version) => left,
        };
        let pause = match left {
            Left::Idle | Left::ForPast => continue,
            // A watch that resumes may have been away for too long. One from the start cannot expire at once.
            Left::Expired if version != FROM_START => {
                version = FROM_START.to_owned();
                continue;
            }
            Left::Expired | Left::Ended(None) => PAUSE,
            Left::Ended(Some(error)) => {
                tracing::debug!(%error, "cluster events not watched");
                version = FROM_START.to_owned();
                if error.is_final() {
                    FORBIDDEN_INTERVAL
                } else {
                    error.retry_after().unwrap_or(PAUSE)
                }
            }
        };
        pause_while_required(&feed, pause).await;
    }
}

/// Waits, but not longer than a listener needs the watch.
async fn pause_while_required(feed: &EventFeed, pause: Duration) {
    let until = Instant::now() + pause;
    while lock(&feed.state).required > 0 {
        if tokio::time::timeout_at(until, feed.changed.notified())
            .await
            .is_err()
        {
            return;
        }
    }
}
