//! The byte stream under one connection, with a kill switch.
//!
//! russh runs a connection in a task of its own that only the stream can end. If the future of a
//! handshake is dropped, the task still waits for a silent peer, and a peer that stops reading blocks
//! the task in a write. So every stream is wrapped: once killed, it reads as ended and fails to
//! write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use sandbox_core::ByteStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::send_room::SendRoom;

/// Ends a connection, and tracks whether it has ended. All clones are one.
#[derive(Debug, Clone)]
pub(crate) struct KillSwitch {
    dead: CancellationToken,
    kill: CancellationToken,
    stalled: Arc<Stall>,
    /// Successful reads.
    reads: Arc<AtomicU64>,
    send_room: SendRoom,
}

/// When the current write began to wait for the peer.
#[derive(Debug)]
struct Stall {
    epoch: Instant,
    /// Milliseconds after the epoch, plus one; zero if no write waits.
    since: AtomicU64,
}

/// A byte stream that ends once its [`KillSwitch`] is used.
pub(crate) struct KillableStream {
    inner: Box<dyn ByteStream>,
    kill_switch: KillSwitch,
    // Different tasks may poll the two halves, each with its own waker.
    read_killed: Pin<Box<WaitForCancellationFutureOwned>>,
    write_killed: Pin<Box<WaitForCancellationFutureOwned>>,
    _end: DropGuard,
}

impl KillSwitch {
    pub(crate) fn new() -> Self {
        let stalled = Arc::new(Stall {
            epoch: Instant::now(),
            since: AtomicU64::new(0),
        });
        Self {
            dead: CancellationToken::new(),
            kill: CancellationToken::new(),
            stalled,
            reads: Arc::default(),
            send_room: SendRoom::new(),
        }
    }

    /// The room for messages that were not written yet.
    pub(crate) fn send_room(&self) -> &SendRoom {
        &self.send_room
    }

    /// Ends the connection now. Data in its queues is lost.
    pub(crate) fn kill(&self) {
        self.kill.cancel();
        self.dead.cancel();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.is_cancelled()
    }

    /// Waits until the connection has ended, for whatever reason.
    pub(crate) async fn wait_ended(&self) {
        self.dead.cancelled().await;
    }

    /// As [`wait_ended`](Self::wait_ended), for a task that is polled by hand.
    pub(crate) fn ended(&self) -> WaitForCancellationFutureOwned {
        self.dead.clone().cancelled_owned()
    }

    /// Marks the connection as ended when dropped.
    pub(crate) fn end_on_drop(&self) -> DropGuard {
        self.dead.clone().drop_guard()
    }

    /// The number of reads so far. While it stays the same, the peer has sent nothing.
    pub(crate) fn read_count(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// How long a write has been waiting for the peer to take it.
    pub(crate) fn write_stall(&self) -> Duration {
        match self.stalled.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => self
                .stalled
                .epoch
                .elapsed()
                .saturating_sub(Duration::from_millis(since - 1)),
        }
    }
}

impl Stall {
    fn set(&self, waiting: bool) {
        if !waiting {
            self.since.store(0, Ordering::Relaxed);
        } else if self.since.load(Ordering::Relaxed) == 0 {
            let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.since.store(now + 1, Ordering::Relaxed);
        }
    }
}

impl KillableStream {
    pub(crate) fn new(inner: Box<dyn ByteStream>, kill_switch: KillSwitch) -> Self {
        Self {
            inner,
            read_killed: Box::pin(kill_switch.kill.clone().cancelled_owned()),
            write_killed: Box::pin(kill_switch.kill.clone().cancelled_owned()),
            _end: kill_switch.end_on_drop(),
            kill_switch,
        }
    }
}

impl AsyncRead for KillableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.kill_switch.kill.is_cancelled() {
            return Poll::Ready(Ok(()));
        }
        // russh reads when it has written everything.
        self.kill_switch.send_room.set_written();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Pending => self.read_killed.as_mut().poll(cx).map(Ok),
            ready => {
                self.kill_switch.reads.fetch_add(1, Ordering::Relaxed);
                ready
            }
        }
    }
}

impl KillableStream {
    /// Runs `write` unless the stream is killed, and records since when it waits.
    fn guard_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Box<dyn ByteStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.kill_switch.kill.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let result = write(Pin::new(&mut self.inner), cx);
        self.kill_switch.stalled.set(result.is_pending());
        match result {
            Poll::Pending => match self.write_killed.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Pending => Poll::Pending,
            },
            ready => ready,
        }
    }
}

impl AsyncWrite for KillableStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.guard_write(cx, |inner, cx| inner.poll_write(cx, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.guard_write(cx, |inner, cx| inner.poll_flush(cx));
        if flushed.is_ready() {
            self.kill_switch.send_room.set_written();
        }
        flushed
    }

    /// russh shuts a stream down only once its connection has ended.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.kill_switch.dead.cancel();
        self.guard_write(cx, |inner, cx| inner.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn killing_a_stream_ends_waiting_reads_and_writes() {
        let (near, _far) = tokio::io::duplex(8);
        let kill_switch = KillSwitch::new();
        let (mut read, mut write) =
            tokio::io::split(KillableStream::new(Box::new(near), kill_switch.clone()));
        let reading = tokio::spawn(async move { read.read(&mut [0; 4]).await });
        let writing = tokio::spawn(async move { write.write_all(&[0; 64]).await });
        while kill_switch.write_stall().is_zero() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        kill_switch.kill();
        assert_eq!(reading.await.unwrap().unwrap(), 0);
        assert_eq!(
            writing.await.unwrap().unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
        assert!(kill_switch.is_dead());
    }

    #[tokio::test]
    async fn a_dropped_stream_is_marked_as_ended() {
        let (near, mut far) = tokio::io::duplex(64);
        let kill_switch = KillSwitch::new();
        let mut near = KillableStream::new(Box::new(near), kill_switch.clone());
        near.write_all(b"through").await.unwrap();
        far.read_exact(&mut [0; 7]).await.unwrap();
        assert!(!kill_switch.is_dead() && kill_switch.write_stall().is_zero());
        drop(near);
        kill_switch.wait_ended().await;
    }
}
