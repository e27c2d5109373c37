//! The input of one channel: data that the client has sent and no one has read yet.
//!
//! russh grants a channel new window as data *arrives*, so the flow control of SSH does not stop a
//! client whose command does not read. If the connection waited for that command, every other
//! channel on it would stop too. So data is always accepted, into a [`Backlog`]. When the backlog is
//! long, the windows that russh grants become small, and reading pauses for a moment after each of
//! them: the less room there is, the slower the client may send, down to a hundred bytes a second. So
//! the backlog of a command that reads nothing does not overflow for a day, and the connection stays
//! responsive. Other channels that send in bulk meanwhile get small windows, too, because russh has
//! one size for all.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::sync::CancellationToken;

use super::backlog::Backlog;
use crate::lock::lock;

/// Sizes of the window that a channel gets while its backlog is long. russh grants new window when
/// less than half is left, so one byte would never be granted.
const SCARCE_WINDOW: (u64, u64) = (2, 64 << 10);
/// How many windows of a channel the rest of its backlog takes; the windows shrink with the rest.
const WINDOWS_IN_ROOM: u64 = 8 << 10;
/// Room that is used only through the smallest windows.
const RESERVE: u64 = 8 << 20;

/// Creates the empty input of a channel.
pub(crate) fn new_input(backlog: Backlog) -> (InputWriter, InputReader) {
    let queue = Arc::new(Queue {
        state: Mutex::new(State::new(backlog)),
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
    closed: CancellationToken,
}

struct State {
    backlog: Backlog,
    /// Data was dropped because the backlog was full.
    overflowed: bool,
    ended: bool,
    /// The channel was closed before the end of its input.
    lost: bool,
    /// No one reads any more; data is dropped.
    discarding: bool,
    reader: Option<Waker>,
}

impl State {
    fn new(backlog: Backlog) -> Self {
        Self {
            backlog,
            overflowed: false,
            ended: false,
            lost: false,
            discarding: false,
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
        }
        state.wake();
    }

    /// The largest window that the client should have, if the backlog is long.
    pub(crate) fn scarce_window(&self) -> Option<u32> {
        let room = self.0.state().backlog.scarce_room()?;
        let (smallest, largest) = SCARCE_WINDOW;
        let window = room.saturating_sub(RESERVE) / WINDOWS_IN_ROOM;
        u32::try_from(window.clamp(smallest, largest)).ok()
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
        let mut state = self.0.state();
        state.lost = !state.ended;
        state.wake();
        drop(state);
        self.0.closed.cancel();
    }
}

impl InputReader {
    /// Returns a token that is cancelled when the channel or the connection is closed.
    pub(crate) fn closed_token(&self) -> CancellationToken {
        self.queue.closed.clone()
    }

    /// Whether the client has sent all of its input, and its end.
    pub(crate) fn is_complete(&self) -> bool {
        self.queue.state().ended
    }

    /// Returns the next data, or `None` at the end of the input.
    ///
    /// # Errors
    ///
    /// If the backlog overflowed, if its file cannot be read, or [`io::ErrorKind::ConnectionReset`]
    /// if the channel was closed before the end of the input.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Drops the input that is waiting and all that follows.
    pub(crate) fn discard(&mut self) {
        self.front = Bytes::new();
        let mut state = self.queue.state();
        state.discarding = true;
        state.backlog.clear();
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
            Some(data) => Poll::Ready(Ok(Some(data))),
            None if state.ended => Poll::Ready(Ok(None)),
            None if state.lost => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a directory for its file the backlog is short.
    #[tokio::test]
    async fn windows_shrink_with_the_room_and_recover_when_input_is_read() {
        let (writer, mut reader) = new_input(Backlog::new("/nonexistent".into()));
        let part = Bytes::from_static(&[0; 1 << 20]);
        let mut windows = Vec::new();
        for _ in 0..63 {
            writer.push(part.clone());
            windows.extend(writer.scarce_window());
        }
        assert_eq!(windows.len(), 31, "the first 32 MiB are not scarce");
        assert!(windows.is_sorted_by(|a, b| a >= b) && windows[0] < 64 << 10);
        assert_eq!(windows.last(), Some(&2), "the reserve");
        for _ in 0..63 {
            reader.next().await.unwrap();
        }
        assert_eq!(writer.scarce_window(), None);
    }

    #[tokio::test]
    async fn a_channel_that_is_closed_has_no_end_of_input_unless_it_was_sent() {
        for is_complete in [true, false] {
            let (writer, mut reader) = new_input(Backlog::new("/nonexistent".into()));
            writer.push(Bytes::from_static(b"some"));
            if is_complete {
                writer.end();
            }
            drop(writer);
            assert_eq!(reader.is_complete(), is_complete);
            assert_eq!(reader.next().await.unwrap().unwrap(), "some");
            assert_eq!(reader.next().await.is_ok(), is_complete);
        }
    }

    #[tokio::test]
    async fn more_input_than_fits_is_an_error_and_never_cut() {
        let (writer, mut reader) = new_input(Backlog::new("/nonexistent".into()));
        for _ in 0..65 {
            writer.push(Bytes::from_static(&[0; 1 << 20]));
        }
        assert!(reader.next().await.is_err());
        assert_eq!(writer.scarce_window(), None, "nothing is kept");
    }
}
