//! The input of one channel: data that the client has sent and no one has read yet.
//!
//! russh grants a channel new window as data *arrives*, so the flow control of SSH does not stop a
//! client whose command does not read. If the connection waited for that command, every other
//! channel on it would stop too. So data is always accepted, into a [`Backlog`]. Only when the
//! backlog is long does the connection pause reading, and even then not while output waits for the
//! client's window, because the client's next message may be the one that grants it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use super::gate::ReadGate;
use crate::lock::lock;

/// Creates the empty input of a channel on the connection that `gate` pauses.
pub(crate) fn new_input(gate: Arc<ReadGate>, backlog: Backlog) -> (InputWriter, InputReader) {
    let queue = Arc::new(Queue {
        state: Mutex::new(State::new(backlog)),
        gate,
        closed: CancellationToken::new(),
    });
    (
        InputWriter(Arc::clone(&queue)),
        InputReader {
            queue,
            front: Bytes::new(),
        },
    )
}

/// The side of the connection, which receives the data. Dropping it closes the channel.
pub(crate) struct InputWriter(Arc<Queue>);

/// The side of the task that serves the channel. Dropping it discards all further input.
pub(crate) struct InputReader {
    queue: Arc<Queue>,
    front: Bytes,
}

struct Queue {
    state: Mutex<State>,
    gate: Arc<ReadGate>,
    closed: CancellationToken,
}

struct State {
    backlog: Backlog,
    /// Data was dropped because the backlog was full.
    overflowed: bool,
    ended: bool,
    /// No one reads any more; data is dropped.
    discarding: bool,
    /// This channel has closed the gate.
    paused: bool,
    reader: Option<Waker>,
}

impl State {
    fn new(backlog: Backlog) -> Self {
        Self {
            backlog,
            overflowed: false,
            ended: false,
            discarding: false,
            paused: false,
            reader: None,
        }
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn resume(&self, state: &mut State) {
        if std::mem::take(&mut state.paused) {
            self.gate.open();
        }
    }
}

impl InputWriter {
    pub(crate) fn push(&self, data: Bytes) {
        let mut state = self.0.state();
        if state.discarding || state.ended || state.overflowed {
            return;
        }
        if state.backlog.push(data).is_err() {
            state.overflowed = true;
            state.backlog.clear();
            self.0.resume(&mut state);
        } else if state.backlog.is_high() && !state.paused {
            state.paused = true;
            self.0.gate.close();
        }
        state.wake();
    }

    /// Marks the end of the input.
    pub(crate) fn end(&self) {
        let mut state = self.0.state();
        state.ended = true;
        state.wake();
    }
}

impl Drop for InputWriter {
    fn drop(&mut self) {
        self.end();
        self.0.closed.cancel();
    }
}

impl InputReader {
    /// Returns a token that is cancelled when the channel or the connection is closed.
    pub(crate) fn closed_token(&self) -> CancellationToken {
        self.queue.closed.clone()
    }

    /// Returns the next data, or `None` at the end of the input.
    ///
    /// # Errors
    ///
    /// If the backlog overflowed, or if its file cannot be read.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Drops the input that is waiting and all that follows.
    pub(crate) fn discard(&mut self) {
        self.front = Bytes::new();
        let mut state = self.queue.state();
        state.discarding = true;
        state.backlog.clear();
        self.queue.resume(&mut state);
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.front.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.front))));
        }
        let mut state = self.queue.state();
        if state.overflowed {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "input buffer limit exceeded",
            )));
        }
        match state.backlog.pop()? {
            Some(data) => {
                if !state.backlog.is_high() {
                    self.queue.resume(&mut state);
                }
                Poll::Ready(Ok(Some(data)))
            }
            None if state.ended => Poll::Ready(Ok(None)),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for InputReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match std::task::ready!(self.poll_next(cx))? {
            Some(mut data) => {
                buf.put_slice(&data.split_to(data.len().min(buf.remaining())));
                self.front = data;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for InputReader {
    fn drop(&mut self) {
        self.discard();
    }
}
