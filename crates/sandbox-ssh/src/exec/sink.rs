//! The receivers of a command's output.

use std::collections::VecDeque;
use std::future::Future;

use sandbox_core::{ExecEvent, ExitStatus, Output, OutputCollector, Result};
use tokio::sync::{mpsc, oneshot};

/// The most output that is queued for a slow reader while a signal is sent, in bytes.
const RESERVE: usize = 4 << 20;

/// The result of one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The reader has taken an event.
    Delivered,
    /// The reader has stopped reading.
    Abandoned,
}

/// Receives the output and the end of a command. Its futures may be dropped without loss, except
/// that of [`finish`](Self::finish).
pub(super) trait Sink: Send + 'static {
    fn push(&mut self, event: ExecEvent);
    /// Whether more may be pushed. While it may not, nothing is read from the channel.
    fn has_room(&self) -> bool;
    /// Whether more may be pushed although the reader is slow, so that a control message can be
    /// sent.
    fn has_reserve(&self) -> bool;
    /// Delivers an event, or notices that the reader has stopped reading; pending while the queue is empty.
    fn deliver(&mut self) -> impl Future<Output = Step> + Send;
    /// Waits until the reader has stopped reading.
    fn wait_abandoned(&mut self) -> impl Future<Output = ()> + Send;
    /// Delivers the rest of the output and the end, at the reader's pace. `None` is an end without
    /// an exit status.
    fn finish(self, end: Result<Option<ExitStatus>>) -> impl Future<Output = ()> + Send;
}

/// Keeps the beginning and the end of each stream.
pub(super) struct CollectSink {
    output: OutputCollector,
    done: oneshot::Sender<Result<Output>>,
}

impl CollectSink {
    pub(super) fn new(cap: usize) -> (Self, oneshot::Receiver<Result<Output>>) {
        let (done, output) = oneshot::channel();
        (
            Self {
                output: OutputCollector::new(cap),
                done,
            },
            output,
        )
    }
}

impl Sink for CollectSink {
    fn push(&mut self, event: ExecEvent) {
        self.output.push(&event);
    }

    fn has_room(&self) -> bool {
        true
    }

    fn has_reserve(&self) -> bool {
        true
    }

    async fn deliver(&mut self) -> Step {
        self.done.closed().await;
        Step::Abandoned
    }

    async fn wait_abandoned(&mut self) {
        self.done.closed().await;
    }

    async fn finish(self, end: Result<Option<ExitStatus>>) {
        let output = end.map(|status| self.output.finish(status.unwrap_or(ExitStatus::Code(0))));
        // The caller may have stopped waiting.
        drop(self.done.send(output));
    }
}

/// Forwards all output, at the reader's pace.
pub(super) struct StreamSink {
    events: mpsc::Sender<Result<ExecEvent>>,
    queue: VecDeque<ExecEvent>,
    bytes: usize,
}

impl StreamSink {
    pub(super) fn new(events: mpsc::Sender<Result<ExecEvent>>) -> Self {
        Self {
            events,
            queue: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl Sink for StreamSink {
    fn push(&mut self, event: ExecEvent) {
        let event = if self.queue.is_empty() {
            match self.events.try_send(Ok(event)) {
                Err(mpsc::error::TrySendError::Full(Ok(event))) => event,
                // Taken, or the reader has stopped reading, which the next delivery notices.
                _ => return,
            }
        } else {
            event
        };
        self.bytes += byte_size(&event);
        self.queue.push_back(event);
    }

    fn has_room(&self) -> bool {
        self.queue.is_empty()
    }

    fn has_reserve(&self) -> bool {
        self.bytes < RESERVE
    }

    async fn deliver(&mut self) -> Step {
        if self.queue.is_empty() {
            self.events.closed().await;
            return Step::Abandoned;
        }
        let Ok(permit) = self.events.reserve().await else {
            return Step::Abandoned;
        };
        if let Some(event) = self.queue.pop_front() {
            self.bytes -= byte_size(&event);
            permit.send(Ok(event));
        }
        Step::Delivered
    }

    async fn wait_abandoned(&mut self) {
        self.events.closed().await;
    }

    async fn finish(mut self, end: Result<Option<ExitStatus>>) {
        while !self.queue.is_empty() {
            if self.deliver().await == Step::Abandoned {
                return;
            }
        }
        if let Some(last) = end.map(|status| status.map(ExecEvent::Exited)).transpose() {
            // The reader may have stopped reading.
            drop(self.events.send(last).await);
        }
    }
}

fn byte_size(event: &ExecEvent) -> usize {
    match event {
        ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => bytes.len(),
        ExecEvent::Notice(_) | ExecEvent::Exited(_) => size_of::<ExecEvent>(),
    }
}
