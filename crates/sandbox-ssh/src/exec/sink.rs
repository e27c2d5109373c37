//! Where a command's output goes.

use std::collections::VecDeque;
use std::future::Future;

use sandbox_core::{ExecEvent, ExitStatus, Output, OutputCollector, Result};
use tokio::sync::{mpsc, oneshot};

/// What may pile up for a slow reader while a signal goes out, in bytes.
const RESERVE: usize = 4 << 20;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was taken by the reader.
    Delivered,
    /// Nobody wants it any more.
    Abandoned,
}

/// Takes what a command tells. Futures may be dropped without loss.
pub(super) trait Sink: Send + 'static {
    fn push(&mut self, event: ExecEvent);
    /// Whether more may be pushed. While not, nothing is read from the connection.
    fn has_room(&self) -> bool;
    /// Whether more may be pushed although the reader is slow, so that something else can go
    /// out on the connection.
    fn has_reserve(&self) -> bool;
    /// Delivers something, or notices that nobody wants it; pending while there is nothing.
    fn step(&mut self) -> impl Future<Output = Step> + Send;
    /// Waits until nobody wants it any more.
    fn abandoned(&mut self) -> impl Future<Output = ()> + Send;
    /// Delivers what is left and the end, at the reader's pace. `None` is an end of which
    /// nothing is known and nothing need be.
    fn finish(self, end: Result<Option<ExitStatus>>) -> impl Future<Output = ()> + Send;
}

/// Keeps the beginning of each stream.
pub(super) struct Collect {
    output: OutputCollector,
    done: oneshot::Sender<Result<Output>>,
}

impl Collect {
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

impl Sink for Collect {
    fn push(&mut self, event: ExecEvent) {
        self.output.push(&event);
    }

    fn has_room(&self) -> bool {
        true
    }

    fn has_reserve(&self) -> bool {
        true
    }

    async fn step(&mut self) -> Step {
        self.done.closed().await;
        Step::Abandoned
    }

    async fn abandoned(&mut self) {
        self.done.closed().await;
    }

    async fn finish(self, end: Result<Option<ExitStatus>>) {
        let output = end.map(|status| self.output.finish(status.unwrap_or(ExitStatus::Code(0))));
        // Nobody waits for it any more.
        drop(self.done.send(output));
    }
}

/// Hands everything on, at the reader's pace.
pub(super) struct Stream {
    events: mpsc::Sender<Result<ExecEvent>>,
    queue: VecDeque<ExecEvent>,
    bytes: usize,
}

impl Stream {
    pub(super) fn new(events: mpsc::Sender<Result<ExecEvent>>) -> Self {
        Self {
            events,
            queue: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl Sink for Stream {
    fn push(&mut self, event: ExecEvent) {
        let event = if self.queue.is_empty() {
            match self.events.try_send(Ok(event)) {
                Err(mpsc::error::TrySendError::Full(Ok(event))) => event,
                // Taken, or nobody wants it; the next step tells.
                _ => return,
            }
        } else {
            event
        };
        self.bytes += size(&event);
        self.queue.push_back(event);
    }

    fn has_room(&self) -> bool {
        self.queue.is_empty()
    }

    fn has_reserve(&self) -> bool {
        self.bytes < RESERVE
    }

    async fn step(&mut self) -> Step {
        if self.queue.is_empty() {
            self.events.closed().await;
            return Step::Abandoned;
        }
        let Ok(permit) = self.events.reserve().await else {
            return Step::Abandoned;
        };
        if let Some(event) = self.queue.pop_front() {
            self.bytes -= size(&event);
            permit.send(Ok(event));
        }
        Step::Delivered
    }

    async fn abandoned(&mut self) {
        self.events.closed().await;
    }

    async fn finish(mut self, end: Result<Option<ExitStatus>>) {
        while !self.queue.is_empty() {
            if self.step().await == Step::Abandoned {
                return;
            }
        }
        if let Some(last) = end.map(|status| status.map(ExecEvent::Exited)).transpose() {
            // The reader may have gone.
            drop(self.events.send(last).await);
        }
    }
}

fn size(event: &ExecEvent) -> usize {
    match event {
        ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => bytes.len(),
        ExecEvent::Exited(_) => 0,
    }
}
