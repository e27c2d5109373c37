//! What a channel from inside has sent and nobody has read yet.
//!
//! russh grants a channel new window as data arrives, so the flow control of SSH does not stop a program inside whose
//! connection is not read. If the queue of its channel is full, the whole connection waits for its reader. So a queue evens
//! out short pauses of its reader, and one that takes nothing from its full queue for a while is reset.
//!
//! There may be a thousand channels. Each may keep one message (32 KiB); what is above that comes out of one budget of
//! all channels of the connection. While the budget is used up, a queue is full with one message.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Messages of one channel.
const MESSAGES: usize = 16;
/// Bytes of all channels of a connection, besides one message of each.
const BUDGET: usize = 16 << 20;
/// How long a channel may block the others of its connection.
const STALL_LIMIT: Duration = Duration::from_secs(30);

/// What the queues of one connection may keep together.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET)))
    }
}

/// What a channel delivers.
#[derive(Debug)]
pub(crate) enum Received {
    Data(Bytes, Option<OwnedSemaphorePermit>),
    End,
}

/// Nobody reads the channel, or nobody has read it for too long.
#[derive(Debug)]
pub(super) struct NotTaken;

/// The side of the connection. Dropping it before the end is a reset.
pub(super) struct QueueWriter {
    sender: mpsc::Sender<Received>,
    budget: Budget,
}

/// The side of the stream.
pub(crate) struct QueueReader(mpsc::Receiver<Received>);

/// Creates an empty queue.
pub(super) fn new_queue(budget: &Budget) -> (QueueWriter, QueueReader) {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let writer = QueueWriter {
        sender,
        budget: budget.clone(),
    };
    (writer, QueueReader(receiver))
}

impl QueueWriter {
    /// Whether there is someone who reads.
    pub(super) fn is_read(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Adds data, once there is room for it.
    pub(super) async fn push(&self, data: &[u8]) -> Result<(), NotTaken> {
        let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.budget.0).try_acquire_many_owned(size).ok();
        let data = Bytes::copy_from_slice(data);
        self.send(Received::Data(data, permit)).await
    }

    /// Adds the end.
    pub(super) async fn end(&self) -> Result<(), NotTaken> {
        self.send(Received::End).await
    }

    async fn send(&self, received: Received) -> Result<(), NotTaken> {
        let is_alone = matches!(received, Received::Data(_, None));
        let sending = async {
            if is_alone {
                // All of the room is free when the queue is empty.
                let mut room = self.sender.reserve_many(MESSAGES).await.map_err(drop)?;
                if let Some(place) = room.next() {
                    place.send(received);
                }
                return Ok(());
            }
            self.sender.send(received).await.map_err(drop)
        };
        match tokio::time::timeout(STALL_LIMIT, sending).await {
            Ok(sent) => sent.map_err(|()| NotTaken),
            Err(_) => {
                tracing::debug!(
                    "connection from inside reset: it was not read, and blocked others"
                );
                Err(NotTaken)
            }
        }
    }
}

impl QueueReader {
    /// Takes what is next; `None` if the channel was closed before its end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        self.0.poll_recv(cx)
    }

    /// Whether the channel is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PACKET: &[u8] = &[7; 32 << 10];

    async fn next(reader: &mut QueueReader) -> Option<Received> {
        std::future::poll_fn(|cx| reader.poll_next(cx)).await
    }

    /// Adds packets until the queue is full, and returns how many it took.
    async fn fill(writer: &QueueWriter) -> usize {
        let mut count = 0;
        while timeout(Duration::from_secs(1), writer.push(PACKET))
            .await
            .is_ok()
        {
            count += 1;
        }
        count
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_channels_keep_no_more_than_the_budget_and_a_message_each() {
        let budget = Budget::default();
        let queues: Vec<_> = (0..1000).map(|_| new_queue(&budget)).collect();
        let mut kept = 0;
        for (writer, _) in &queues {
            let count = fill(writer).await;
            assert!((1..=MESSAGES).contains(&count));
            kept += count * PACKET.len();
        }
        assert!(kept <= BUDGET + queues.len() * PACKET.len(), "{kept}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_budget_a_queue_takes_the_next_message_when_it_is_empty() {
        let budget = Budget::default();
        let hogs: Vec<_> = (0..100).map(|_| new_queue(&budget)).collect();
        for (writer, _) in &hogs {
            fill(writer).await;
        }
        let (writer, mut reader) = new_queue(&budget);
        for _ in 0..100 {
            writer.push(PACKET).await.unwrap();
            assert!(
                matches!(next(&mut reader).await, Some(Received::Data(data, None)) if data == PACKET)
            );
        }
        // What was read can be used by others again.
        drop(hogs);
        assert_eq!(fill(&writer).await, MESSAGES);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up_and_who_is_gone_at_once() {
        let budget = Budget::default();
        let (writer, reader) = new_queue(&budget);
        fill(&writer).await;
        let begun = tokio::time::Instant::now();
        writer.push(PACKET).await.unwrap_err();
        assert!(begun.elapsed() >= STALL_LIMIT);
        drop(reader);
        assert!(!writer.is_read());
        let begun = tokio::time::Instant::now();
        writer.push(PACKET).await.unwrap_err();
        writer.end().await.unwrap_err();
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test]
    async fn an_end_is_no_reset() {
        let (writer, mut reader) = new_queue(&Budget::default());
        writer.push(b"x").await.unwrap();
        writer.end().await.unwrap();
        assert!(matches!(next(&mut reader).await, Some(Received::Data(..))));
        assert!(matches!(next(&mut reader).await, Some(Received::End)));
        drop(writer);
        assert!(next(&mut reader).await.is_none());
    }
}
