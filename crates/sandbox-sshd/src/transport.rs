//! The byte stream under one connection, with three additions.
//!
//! * A *write-behind buffer*. russh writes to the stream without reading meanwhile, so two
//!   russh ends that both send in bulk wait for each other for ever. Here a write is always
//!   taken, up to a capacity above the sum of the windows that a client of ours grants; what
//!   the stream does not take at once goes out whenever russh polls for reading.
//! * A *gate* that pauses reading, closed while a channel's input backlog is too large.
//! * A *kill switch*: a cancelled token reads as the end of the stream.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Above the windows of ten busy channels of 2 MiB, or of six bulk channels of 8 MiB.
const CAPACITY: usize = 64 << 20;
/// An emptied buffer that grew beyond this is given back.
const KEEP: usize = 1 << 20;
/// How long the last bytes may take when the connection ends.
const LINGER: Duration = Duration::from_secs(5);

pub(crate) struct Transport<S> {
    inner: S,
    pending: VecDeque<u8>,
    /// Asked for, and not yet done.
    flush: bool,
    capacity: usize,
    gate: Arc<Gate>,
    killed: Pin<Box<WaitForCancellationFutureOwned>>,
    linger: Option<Pin<Box<Sleep>>>,
}

/// Pauses reading while it is closed by anyone, unless somebody waits for what may be read.
#[derive(Default)]
pub(crate) struct Gate(Mutex<GateState>);

#[derive(Default)]
struct GateState {
    closed_by: usize,
    waiting: usize,
    reader: Option<Waker>,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.state().closed_by += 1;
    }

    pub(crate) fn open(&self) {
        let mut state = self.state();
        state.closed_by = state.closed_by.saturating_sub(1);
        state.wake();
    }

    /// Lets everything through until the answer is dropped.
    pub(crate) fn wait_for_client(self: &Arc<Self>) -> WaitingForClient {
        let mut state = self.state();
        state.waiting += 1;
        state.wake();
        WaitingForClient(Arc::clone(self))
    }

    fn poll_open(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.is_open() {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GateState {
    fn is_open(&self) -> bool {
        self.closed_by == 0 || self.waiting > 0
    }

    fn wake(&mut self) {
        if self.is_open()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
    }
}

/// Something waits for a message of the client.
pub(crate) struct WaitingForClient(Arc<Gate>);

impl Drop for WaitingForClient {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl<S> Transport<S> {
    pub(crate) fn new(inner: S, gate: Arc<Gate>, kill: CancellationToken) -> Self {
        let killed = Box::pin(kill.cancelled_owned());
        Self {
            inner,
            pending: VecDeque::new(),
            flush: false,
            capacity: CAPACITY,
            gate,
            killed,
            linger: None,
        }
    }
}

impl<S: AsyncWrite + Unpin> Transport<S> {
    /// Sends what is pending, and flushes where that was asked for; ready when nothing is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let (front, _) = self.pending.as_slices();
            match ready!(Pin::new(&mut self.inner).poll_write(cx, front)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if self.pending.capacity() > KEEP {
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
        let kept = room.min(buf.len() - sent);
        this.pending.extend(&buf[sent..sent + kept]);
        // Nothing taken: the stream's waker is registered by the attempt above.
        if sent + kept == 0 && !buf.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(Ok(sent + kept))
        }
    }

    /// Never waits: what is pending goes out while reading.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flush = true;
        match self.poll_drain(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            drained => drained,
        }
    }

    /// Waits for what is pending, but not long: the peer may have stopped reading.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let linger = this
            .linger
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        let over = linger.as_mut().poll(cx).is_ready() || this.killed.as_mut().poll(cx).is_ready();
        match this.poll_drain(cx) {
            Poll::Ready(result) => result?,
            Poll::Pending if over => this.pending.clear(),
            Poll::Pending => return Poll::Pending,
        }
        match Pin::new(&mut this.inner).poll_shutdown(cx) {
            Poll::Pending if over => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_write_is_taken_though_nobody_reads_and_arrives_in_order() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut near = Transport::new(near, Arc::default(), CancellationToken::new());
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
        assert_eq!(near.pending.capacity(), 0, "given back");
    }

    #[tokio::test]
    async fn the_capacity_is_a_bound() {
        let (near, mut far) = tokio::io::duplex(10);
        let mut near = Transport::new(near, Arc::default(), CancellationToken::new());
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

    #[tokio::test]
    async fn a_closed_gate_stops_reading_and_the_kill_switch_ends_it() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (gate, kill) = (Arc::new(Gate::default()), CancellationToken::new());
        let mut near = Transport::new(near, Arc::clone(&gate), kill.clone());
        far.write_all(b"ab").await.unwrap();
        gate.close();
        gate.close();
        let mut byte = [0; 1];
        tokio::select! {
            biased;
            _ = near.read(&mut byte) => panic!("read through a closed gate"),
            () = tokio::task::yield_now() => {}
        }
        let waiting = gate.wait_for_client();
        near.read_exact(&mut byte).await.unwrap();
        drop(waiting);
        gate.open();
        gate.open();
        near.read_exact(&mut byte).await.unwrap();
        kill.cancel();
        assert_eq!(near.read(&mut byte).await.unwrap(), 0);
        assert!(near.write(b"x").await.is_err());
    }
}
