//! What a client has sent on one channel and nobody has read yet.
//!
//! russh grants a channel new window as data *arrives*, so SSH's flow control does not hold
//! back a client whose command does not read. If the connection waited for that command,
//! every other channel on it would stand still. So data is taken always, into a
//! [`Backlog`]; only when that is long does the connection pause reading, and even then not
//! while output waits for the client's window: its next message may be the one that opens it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::transport::Gate;

/// Makes an empty inbox for a channel of the connection that `gate` pauses.
pub(crate) fn inbox(gate: Arc<Gate>, backlog: Backlog) -> (InboxWriter, InboxReader) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State::new(backlog)),
        gate,
        gone: CancellationToken::new(),
    });
    (
        InboxWriter(Arc::clone(&shared)),
        InboxReader {
            shared,
            front: Bytes::new(),
        },
    )
}

/// The connection's side.
pub(crate) struct InboxWriter(Arc<Shared>);

/// The side of whoever handles the channel.
pub(crate) struct InboxReader {
    shared: Arc<Shared>,
    front: Bytes,
}

struct Shared {
    state: Mutex<State>,
    gate: Arc<Gate>,
    gone: CancellationToken,
}

struct State {
    backlog: Backlog,
    /// Data was lost, for there was far too much of it.
    failed: bool,
    eof: bool,
    unread: bool,
    paused: bool,
    reader: Option<Waker>,
}

impl State {
    fn new(backlog: Backlog) -> Self {
        Self {
            backlog,
            failed: false,
            eof: false,
            unread: false,
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

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resume(&self, state: &mut State) {
        if std::mem::take(&mut state.paused) {
            self.gate.open();
        }
    }
}

impl InboxWriter {
    pub(crate) fn push(&self, data: Bytes) {
        let mut state = self.0.state();
        if state.unread || state.eof || state.failed {
            return;
        }
        if state.backlog.push(data).is_err() {
            state.failed = true;
            state.backlog.clear();
            self.0.resume(&mut state);
        } else if state.backlog.is_high() && !state.paused {
            state.paused = true;
            self.0.gate.close();
        }
        state.wake();
    }

    /// The client will send no more.
    pub(crate) fn eof(&self) {
        let mut state = self.0.state();
        state.eof = true;
        state.wake();
    }
}

/// The channel is closed, or the connection is.
impl Drop for InboxWriter {
    fn drop(&mut self) {
        self.eof();
        self.0.gone.cancel();
    }
}

impl InboxReader {
    /// A token that is cancelled when the client closes the channel or is lost.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }

    /// The next data, or `None` when there will be none.
    ///
    /// # Errors
    ///
    /// When data was lost, because there was too much of it or because it cannot be read back.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.front.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.front))));
        }
        let mut state = self.shared.state();
        if state.failed {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "too much of it was waiting",
            )));
        }
        match state.backlog.pop()? {
            Some(data) => {
                if !state.backlog.is_high() {
                    self.shared.resume(&mut state);
                }
                Poll::Ready(Ok(Some(data)))
            }
            None if state.eof => Poll::Ready(Ok(None)),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for InboxReader {
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

impl InboxReader {
    /// Drops what is there, and what will come.
    pub(crate) fn discard(&mut self) {
        self.front = Bytes::new();
        let mut state = self.shared.state();
        state.unread = true;
        state.backlog.clear();
        self.shared.resume(&mut state);
    }
}

/// What comes now is for nobody.
impl Drop for InboxReader {
    fn drop(&mut self) {
        self.discard();
    }
}
