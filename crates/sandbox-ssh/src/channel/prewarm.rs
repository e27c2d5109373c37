//! Channels that are opened before they are needed.
//!
//! A command takes two round trips: one opens its channel, and one starts it, because the request
//! that starts it contains the number that the server gave to the channel. Where a round trip
//! is long, a channel for the next command is opened while one runs. It takes a slot like every other
//! channel, so a server is never asked to exceed its limit. No channel is prewarmed
//! while slots are scarce, and none is kept for long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::open_channel::OpenChannel;
use crate::connection::{OpenError, Opening};
use crate::pool::SlotPool;

/// Prewarmed channels at once, including those that are being opened.
const MAX_PREWARMED: usize = 2;
/// How long an unused channel is kept: no longer than a quiet connection is trusted. A command sent
/// over a connection that has silently died is lost, and it is unknown whether the command ran.
const MAX_AGE: Duration = Duration::from_secs(15);

/// Prewarms channels of one pool. All clones are one.
#[derive(Clone)]
pub(super) struct Prewarmer {
    min_latency: Option<Duration>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// A sender for each task that keeps a channel. The task delivers the channel to the sender that
    /// it receives.
    keepers: VecDeque<oneshot::Sender<oneshot::Sender<OpenChannel>>>,
    opening: usize,
}

/// Counts as a channel that is being opened until dropped.
struct OpeningGuard(Prewarmer);

impl Prewarmer {
    pub(super) fn new(min_latency: Option<Duration>) -> Self {
        Self {
            min_latency,
            state: Arc::default(),
        }
    }

    /// Takes a prewarmed channel, if there is one.
    pub(super) async fn take(&self) -> Option<OpenChannel> {
        loop {
            let keeper = self.lock().keepers.pop_front()?;
            let (reply, channel) = oneshot::channel();
            if keeper.send(reply).is_ok()
                && let Ok(mut channel) = channel.await
                && channel.conn().is_usable()
            {
                tracing::trace!("prewarmed channel taken");
                channel.resume();
                return Some(channel);
            }
        }
    }

    /// Opens a channel for the next command, in a task of its own, if that saves time and slots
    /// are free.
    pub(super) fn prewarm_after(&self, current: &OpenChannel, slots: &SlotPool) {
        let saves_time = self.min_latency.is_some_and(|least| {
            let latency = current.conn().round_trip();
            latency.is_some_and(|latency| latency >= least)
        });
        if !saves_time || current.conn().safe_channels() == 1 {
            return;
        }
        let Some(opening) = self.begin_opening() else {
            return;
        };
        let Some(slot) = slots.try_checkout() else {
            return;
        };
        let slots = slots.clone();
        tokio::spawn(async move {
            match OpenChannel::open(slot, &Opening::Session).await {
                Ok(channel) => opening.keep(channel).await,
                Err((slot, OpenError::Refused(_))) => slots.lower_after_refusal(&slot),
                Err((_, OpenError::Lost)) => {}
            }
        });
    }

    /// The number of channels that are prewarmed or being opened.
    pub(super) fn count(&self) -> usize {
        let state = self.lock();
        let kept = state.keepers.iter().filter(|keeper| !keeper.is_closed());
        state.opening + kept.count()
    }

    fn begin_opening(&self) -> Option<OpeningGuard> {
        let mut state = self.lock();
        // The keepers whose channels were closed meanwhile.
        state.keepers.retain(|keeper| !keeper.is_closed());
        if state.keepers.len() + state.opening >= MAX_PREWARMED {
            return None;
        }
        state.opening += 1;
        drop(state);
        Some(OpeningGuard(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpeningGuard {
    /// Keeps the channel until it is taken or too old. The channel is read meanwhile, because an
    /// unread channel blocks its connection; all that a server can send on it is a close.
    async fn keep(self, mut channel: OpenChannel) {
        channel.pause();
        let (keeper, taken) = oneshot::channel();
        self.0.lock().keepers.push_back(keeper);
        drop(self);
        tokio::select! {
            biased;
            reply = taken => if let Ok(reply) = reply {
                // If the caller has stopped waiting, the channel is dropped, which closes it.
                drop(reply.send(channel));
            },
            _ = channel.read.wait() => tracing::debug!("prewarmed channel closed by the server"),
            () = tokio::time::sleep(MAX_AGE) => {}
        }
    }
}

impl Drop for OpeningGuard {
    fn drop(&mut self) {
        self.0.lock().opening -= 1;
    }
}
