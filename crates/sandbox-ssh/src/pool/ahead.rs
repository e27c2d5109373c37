//! Channels that are open before they are wanted.
//!
//! A command takes two round trips: one opens its channel, and one starts it, for the start names
//! the number that the server gave to the channel. Where the way is long, a channel for the next
//! command is opened while one runs. It has a slot like every other, so a server is asked for no
//! more channels than it allows; none is opened where slots are scarce, and none is kept for long.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::SlotPool;
use crate::channel::{self, OpenChannel};

/// Channels kept, or being opened, at once.
const MOST: usize = 2;
/// How long one is kept that nobody wants: no longer than a quiet connection is trusted. What is sent
/// on it may go to a server that is gone, and then it is not known whether the command ran.
const KEEP: Duration = Duration::from_secs(15);

/// The channels of one pool that are open ahead.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    kept: VecDeque<oneshot::Sender<oneshot::Sender<OpenChannel>>>,
    opening: usize,
}

/// One is being opened.
struct OnItsWay(Arc<Ahead>);

impl SlotPool {
    /// A channel that is open already, if there is one.
    pub(crate) async fn take_ahead(&self) -> Option<OpenChannel> {
        loop {
            let keeper = self.ahead.state().kept.pop_front()?;
            let (reply, channel) = oneshot::channel();
            if keeper.send(reply).is_ok()
                && let Ok(mut channel) = channel.await
                && channel.conn().is_usable()
            {
                tracing::trace!("a channel was open ahead");
                channel.resume();
                return Some(channel);
            }
        }
    }

    /// Opens one for the next command, in a task of its own, where that saves time and is allowed.
    pub(crate) fn open_ahead(&self, after: &OpenChannel) {
        let far = self
            .open_ahead_from
            .is_some_and(|from| after.conn().round_trip().is_some_and(|it| it >= from));
        if !far || after.conn().safe_channels() == 1 {
            return;
        }
        let Some(on_its_way) = OnItsWay::begin(&self.ahead) else {
            return;
        };
        let Some(lease) = self.try_checkout() else {
            return;
        };
        let pool = self.clone();
        tokio::spawn(async move {
            match channel::open_with(lease).await {
                Ok(channel) => on_its_way.keep(channel).await,
                Err(refused) => {
                    if let Some(lease) = refused {
                        pool.refused(&lease);
                    }
                }
            }
        });
    }
}

impl Ahead {
    /// How many are kept, or are being opened.
    pub(super) fn count(&self) -> usize {
        let state = self.state();
        state.opening
            + state
                .kept
                .iter()
                .filter(|keeper| !keeper.is_closed())
                .count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnItsWay {
    fn begin(ahead: &Arc<Ahead>) -> Option<Self> {
        let mut state = ahead.state();
        // Those that were closed meanwhile.
        state.kept.retain(|keeper| !keeper.is_closed());
        if state.kept.len() + state.opening >= MOST {
            return None;
        }
        state.opening += 1;
        drop(state);
        Some(Self(Arc::clone(ahead)))
    }

    /// Keeps it until it is wanted, for a while. It is read meanwhile, for a channel that nobody
    /// reads holds its connection back; a server has nothing to say on it but that it is closed.
    async fn keep(self, mut channel: OpenChannel) {
        channel.pause();
        let (keeper, wanted) = oneshot::channel();
        self.0.state().kept.push_back(keeper);
        drop(self);
        tokio::select! {
            biased;
            reply = wanted => if let Ok(reply) = reply {
                // Nobody may want it any more; then it is closed.
                drop(reply.send(channel));
            },
            _ = channel.read.wait() => tracing::debug!("a channel that was open ahead is of no use"),
            () = tokio::time::sleep(KEEP) => {}
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.state().opening -= 1;
    }
}
