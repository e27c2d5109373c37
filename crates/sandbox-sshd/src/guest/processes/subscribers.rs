//! The clients that are attached to a process, and what each of them has not read yet.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use sandbox_core::guest::{FrameKind, ProcessEnd};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lock::lock;

/// How many chunks wait for a subscriber, each of at most 64 KiB.
const MAX_WAITING: usize = 16;
/// How long a subscriber holds the process back before it is dropped.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A part of the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) kind: FrameKind,
    pub(super) data: Bytes,
}

/// How a process has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Ended(ProcessEnd),
    TimedOut,
}

/// The subscribers of one process.
#[derive(Default)]
pub(super) struct Subscribers(Mutex<State>);

#[derive(Default)]
struct State {
    subscribers: Vec<Subscriber>,
    outcome: Option<Outcome>,
}

#[derive(Clone)]
struct Subscriber {
    chunks: mpsc::Sender<Chunk>,
    too_slow: CancellationToken,
}

/// The output from now on. Dropping it ends the subscription.
pub(super) struct Subscription {
    /// Ends when the process has.
    pub(super) chunks: mpsc::Receiver<Chunk>,
    /// Cancelled when the subscriber is dropped because it has not read.
    pub(super) too_slow: CancellationToken,
}

impl Subscribers {
    pub(super) fn subscribe(&self) -> Subscription {
        let (sender, chunks) = mpsc::channel(MAX_WAITING);
        let too_slow = CancellationToken::new();
        let mut state = lock(&self.0);
        if state.outcome.is_none() {
            state.subscribers.push(Subscriber {
                chunks: sender,
                too_slow: too_slow.clone(),
            });
        }
        Subscription { chunks, too_slow }
    }

    /// Passes a chunk to all subscribers. Waits for those that are slow, but not for ever. Without
    /// subscribers the chunk is dropped.
    pub(super) async fn publish(&self, chunk: &Chunk) {
        let subscribers = lock(&self.0).subscribers.clone();
        if subscribers.is_empty() {
            return;
        }
        let mut slow = Vec::new();
        for subscriber in &subscribers {
            match subscriber.chunks.try_send(chunk.clone()) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(chunk)) => slow.push((subscriber, chunk)),
            }
        }
        let deadline = Instant::now() + PATIENCE;
        for (subscriber, chunk) in slow {
            let sending = subscriber.chunks.send(chunk);
            if tokio::time::timeout_at(deadline, sending).await.is_err() {
                subscriber.too_slow.cancel();
            }
        }
        let mut state = lock(&self.0);
        state.subscribers.retain(|subscriber| {
            !subscriber.chunks.is_closed() && !subscriber.too_slow.is_cancelled()
        });
    }

    /// Ends all subscriptions, once their chunks are read.
    pub(super) fn finish(&self, outcome: Outcome) {
        let mut state = lock(&self.0);
        state.outcome = Some(outcome);
        state.subscribers = Vec::new();
    }

    /// How the process has ended, if it has.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        lock(&self.0).outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &'static str) -> Chunk {
        Chunk {
            kind: FrameKind::Content,
            data: text.into(),
        }
    }

    #[tokio::test]
    async fn each_subscriber_gets_what_is_published_from_then_on() {
        let subscribers = Subscribers::default();
        subscribers.publish(&chunk("nobody")).await;
        let mut first = subscribers.subscribe();
        subscribers.publish(&chunk("1")).await;
        let mut second = subscribers.subscribe();
        drop(subscribers.subscribe());
        subscribers.publish(&chunk("2")).await;
        assert_eq!(lock(&subscribers.0).subscribers.len(), 2);
        let outcome = Outcome::Ended(ProcessEnd::Exited(0));
        subscribers.finish(outcome.clone());
        assert_eq!(first.chunks.recv().await, Some(chunk("1")));
        for subscription in [&mut first, &mut second] {
            assert_eq!(subscription.chunks.recv().await, Some(chunk("2")));
            assert_eq!(subscription.chunks.recv().await, None);
        }
        assert_eq!(subscribers.outcome(), Some(outcome));
        assert_eq!(subscribers.subscribe().chunks.recv().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_subscriber_is_waited_for_and_then_dropped() {
        let subscribers = Subscribers::default();
        let mut slow = subscribers.subscribe();
        let mut fast = subscribers.subscribe();
        let begun = Instant::now();
        for _ in 0..MAX_WAITING {
            subscribers.publish(&chunk("x")).await;
            fast.chunks.recv().await.unwrap();
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        // It reads in time.
        let reading = async {
            tokio::time::sleep(PATIENCE * 9 / 10).await;
            slow.chunks.recv().await.unwrap();
        };
        let late = chunk("y");
        tokio::join!(subscribers.publish(&late), reading);
        assert!(!slow.too_slow.is_cancelled());
        fast.chunks.recv().await.unwrap();
        // It does not.
        let begun = Instant::now();
        subscribers.publish(&chunk("z")).await;
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(slow.too_slow.is_cancelled());
        assert_eq!(fast.chunks.recv().await, Some(chunk("z")));
        subscribers.publish(&chunk("a")).await;
        assert_eq!(
            begun.elapsed(),
            PATIENCE,
            "it no longer holds anything back"
        );
    }
}
