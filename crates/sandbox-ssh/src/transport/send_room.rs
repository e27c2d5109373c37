//! How much is handed to russh before it was sent.
//!
//! russh takes messages as long as there are any, and only then writes what it has made of them. A thousand channels whose
//! windows are open would let it collect gigabytes. So they need room for a message, which is free again once what was
//! collected is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

/// Messages that are collected.
const MESSAGES: usize = 32;
/// The longest one.
pub(crate) const LONGEST: usize = 32 << 10;

/// The room for messages of one connection. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct SendRoom {
    room: Arc<Semaphore>,
    /// Messages that were handed over since the last write. With those that still have room, it is always [`MESSAGES`].
    handed: Arc<AtomicUsize>,
}

/// The room as one channel sees it.
pub(crate) struct PollSendRoom {
    all: SendRoom,
    room: PollSemaphore,
}

impl SendRoom {
    pub(super) fn new() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MESSAGES)),
            handed: Arc::default(),
        }
    }

    /// All that was collected is written, or was for channels that are closed.
    pub(super) fn set_written(&self) {
        if self.handed.load(Ordering::Acquire) == 0 {
            return;
        }
        let handed = self.handed.swap(0, Ordering::AcqRel);
        self.room.add_permits(handed);
    }

    /// Returns it for one channel.
    pub(crate) fn for_channel(&self) -> PollSendRoom {
        PollSendRoom {
            all: self.clone(),
            room: PollSemaphore::new(Arc::clone(&self.room)),
        }
    }
}

impl PollSendRoom {
    /// Takes room for a message, in turn with the other channels. It is taken before the message is handed over, so that it
    /// is never freed too late: nothing would be written any more then.
    pub(crate) fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // It is never closed.
        if let Some(permit) = ready!(self.room.poll_acquire(cx)) {
            permit.forget();
            self.all.handed.fetch_add(1, Ordering::AcqRel);
        }
        Poll::Ready(())
    }

    /// Gives it back: no message was handed over.
    pub(crate) fn give_back(&self) {
        let less = |handed: usize| handed.checked_sub(1);
        let taken = self
            .all
            .handed
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
        // It may be free again already, because something was written meanwhile.
        if taken.is_ok() {
            self.all.room.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    async fn take(room: &mut PollSendRoom) {
        std::future::poll_fn(|cx| room.poll_take(cx)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_messages_are_collected_and_then_written() {
        let room = SendRoom::new();
        let mut one = room.for_channel();
        for _ in 0..3 {
            for _ in 0..MESSAGES {
                take(&mut one).await;
            }
            let more = timeout(Duration::from_secs(1), take(&mut one)).await;
            assert!(more.is_err());
            room.set_written();
        }
    }

    #[tokio::test]
    async fn room_is_never_lost_nor_gained() {
        let room = SendRoom::new();
        let mut one = room.for_channel();
        take(&mut one).await;
        one.give_back();
        take(&mut one).await;
        room.set_written();
        one.give_back();
        room.set_written();
        assert_eq!(room.room.available_permits(), MESSAGES);
    }
}
