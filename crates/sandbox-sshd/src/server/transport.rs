//! The byte stream under one connection, with three additions.
//!
//! * A *write-behind buffer*. russh does not read while it writes, so two russh peers that both
//!   send in bulk would deadlock. Here a write is accepted at once, up to a capacity above the sum of
//!   the windows that the SDK's client grants. Bytes that the stream does not accept are sent
//!   whenever russh polls for reading.
//! * A *gate* that slows reading down while the input backlog of a channel is long.
//! * A *kill switch*: once a token is cancelled, reading returns the end of the stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::channel::gate::ReadGate;
use crate::channel::write_backlog::WriteBacklog;

/// Above the windows of ten busy channels of 2 MiB, or of six bulk channels of 8 MiB.
const CAPACITY: usize = 64 << 20;
/// Capacity of the empty buffer above which it is freed.
const MAX_IDLE_CAPACITY: usize = 1 << 20;
/// Timeout of sending the last bytes when the connection ends.
const LINGER: Duration = Duration::from_secs(5);

/// A byte stream with a write-behind buffer, a gate and a kill switch.
pub(crate) struct Transport<S> {
    inner: S,
    pending: VecDeque<u8>,
    /// A flush was requested and has not completed.
    flush: bool,
    capacity: usize,
    /// Those wait for it that fill it.
    backlog: Arc<WriteBacklog>,
    gate: Arc<ReadGate>,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    linger: Option<Pin<Box<Sleep>>>,
}

impl<S> Transport<S> {
    pub(crate) fn new(
        inner: S,
        gate: Arc<ReadGate>,
        backlog: Arc<WriteBacklog>,
        kill: CancellationToken,
    ) -> Self {
        let killed = Box::pin(kill.cancelled_owned());
        Self {
            inner,
            pending: VecDeque::new(),
            flush: false,
            capacity: CAPACITY,
            backlog,
            gate,
            killed,
            linger: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Transport<S> {
    /// Sends the pending bytes, and flushes if that was requested.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let (front, _) = self.pending.as_slices();
            match ready!(Pin::new(&mut self.inner).poll_write(cx, front)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    drop(self.pending.drain(..written));
                    self.backlog.set(self.pending.len());
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.pending.capacity() > MAX_IDLE_CAPACITY {
            self.pending = VecDeque::new();
        }
        if self.flush {
            ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
            self.flush = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.killed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(Err(error)) = this.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        ready!(this.gate.poll_open(cx));
        Pin::new(&mut this.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.killed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut sent = 0;
        if let Poll::Ready(result) = this.poll_drain(cx) {
            result?;
            while sent < buf.len() {
                match Pin::new(&mut this.inner).poll_write(cx, &buf[sent..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(Ok(written)) => sent += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => break,
                }
            }
        }
        let room = this.capacity.saturating_sub(this.pending.len());
        let buffered = room.min(buf.len() - sent);
        if buffered > 0 {
            this.pending.extend(&buf[sent..sent + buffered]);
            this.backlog.set(this.pending.len());
        }
        // If nothing was accepted, `poll_drain` above has registered the waker.
        if sent + buffered == 0 && !buf.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(sent + buffered))
        }
    }

    /// Never waits: pending bytes are sent while russh reads.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush = true;
        match self.poll_drain(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            drained => drained,
        }
    }

    /// Waits for the pending bytes, but only for [`LINGER`], because the peer may not read.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let linger = this
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let is_expired =
            linger.as_mut().poll(cx).is_ready() || this.killed.as_mut().poll(cx).is_ready();
        match this.poll_drain(cx) {
            Poll::Ready(result) => result?,
            Poll::Pending if is_expired => this.pending.clear(),
            Poll::Pending => return Poll::Pending,
        }
        match Pin::new(&mut this.inner).poll_shutdown(cx) {
            Poll::Pending if is_expired => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn writes_are_accepted_while_the_peer_does_not_read_and_arrive_in_order() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = Transport::new(
            near,
            Arc::default(),
            Arc::default(),
            CancellationToken::new(),
        );
        let data: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        for part in data.chunks(70_001) {
            near.write_all(part).await.unwrap();
        }
        near.flush().await.unwrap();
        let mut received = vec![0; data.len()];
        let mut ping = [0; 1];
        let (read, ()) = tokio::join!(near.read_exact(&mut ping), async {
            far.read_exact(&mut received).await.unwrap();
            far.write_all(b"!").await.unwrap();
        });
        read.unwrap();
        assert!(received == data);
        assert_eq!(near.pending.capacity(), 0, "the buffer is freed");
    }

    #[tokio::test]
    async fn the_capacity_is_a_bound() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Transport::new(
            near,
            Arc::default(),
            Arc::default(),
            CancellationToken::new(),
        );
        near.capacity = 90;
        assert_eq!(near.write(&[7; 500]).await.unwrap(), 100);
        let send = async {
            near.write_all(&[0; 400]).await.unwrap();
            near.shutdown().await.unwrap();
        };
        let mut read = Vec::new();
        let ((), received) = tokio::join!(send, far.read_to_end(&mut read));
        assert_eq!(received.unwrap(), 500);
        assert_eq!(read[..100], [7; 100]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_pauses_reading_and_the_kill_switch_ends_it() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (gate, kill) = (Arc::new(ReadGate::default()), CancellationToken::new());
        let mut near = Transport::new(near, Arc::clone(&gate), Arc::default(), kill.clone());
        far.write_all(b"ab").await.unwrap();
        gate.pause(Duration::from_secs(60));
        let mut byte = [0; 1];
        let paused_until = tokio::time::Instant::now() + Duration::from_secs(60);
        near.read_exact(&mut byte).await.unwrap();
        assert!(
            tokio::time::Instant::now() >= paused_until,
            "read through a closed gate"
        );
        near.read_exact(&mut byte).await.unwrap();
        kill.cancel();
        assert_eq!(near.read(&mut byte).await.unwrap(), 0);
        assert!(near.write(b"x").await.is_err());
    }
}
