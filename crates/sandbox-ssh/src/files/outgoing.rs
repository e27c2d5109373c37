//! Requests on their way to the server, put together.
//!
//! russh-sftp writes each request by itself. As channel data each would be a packet of SSH, to
//! be encrypted and sent alone, and that costs more than a small request itself. So they are
//! gathered while earlier ones are being sent, which makes no request wait. What carries a piece
//! of a file is large enough to go as it is, without being copied once more.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;

use crate::transport::Life;

/// Bytes that may wait before the writer does.
const MOST: usize = 256 << 10;

/// The writing side of a channel. What is written is sent by a task of its own.
pub(super) struct Outgoing(Arc<Shared>);

/// The way of whole requests past the writer.
pub(super) struct Requests(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Default)]
struct State {
    /// What goes before the small ones.
    ready: VecDeque<Bytes>,
    small: BytesMut,
    /// Nothing more will be written.
    complete: bool,
    /// Nothing more can be sent.
    broken: bool,
    writer: Option<Waker>,
}

impl Outgoing {
    pub(super) fn new(channel: Arc<ChannelWriteHalf<Msg>>, life: Life) -> Self {
        let shared = Arc::<Shared>::default();
        tokio::spawn(send(Arc::clone(&shared), channel, life));
        Self(shared)
    }

    /// Over any stream.
    #[cfg(test)]
    pub(super) fn over(mut stream: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        use tokio::io::AsyncWriteExt;
        let shared = Arc::<Shared>::default();
        let queue = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Some(bytes) = queue.next().await {
                if stream.write_all(&bytes).await.is_err() {
                    break;
                }
            }
            queue.state().end();
        });
        Self(shared)
    }

    pub(super) fn requests(&self) -> Requests {
        Requests(Arc::clone(&self.0))
    }
}

impl Requests {
    /// Sends a whole request after all that was written or sent before; whether it can be.
    pub(super) fn send(&self, request: Bytes) -> bool {
        let mut state = self.0.state();
        if state.broken || state.complete {
            return false;
        }
        if request.len() < MOST / 64 {
            state.small.extend_from_slice(&request);
        } else {
            state.seal();
            state.ready.push_back(request);
        }
        drop(state);
        self.0.written.notify_one();
        true
    }
}

async fn send(shared: Arc<Shared>, channel: Arc<ChannelWriteHalf<Msg>>, life: Life) {
    while let Some(bytes) = shared.next().await {
        let sent = tokio::select! {
            biased;
            sent = channel.data_bytes(bytes) => sent.is_ok(),
            // russh waits for ever for the window of a connection that has ended.
            () = life.ended() => false,
        };
        if !sent {
            break;
        }
    }
    shared.state().end();
}

impl Shared {
    /// All that was written since, as soon as something was; `None` after the last.
    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
                if state.ready.is_empty() {
                    state.seal();
                }
                if let Some(bytes) = state.ready.pop_front() {
                    state.wake();
                    return Some(bytes);
                }
                if state.complete {
                    return None;
                }
            }
            self.written.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Nothing is added any more to the small ones that wait.
    fn seal(&mut self) {
        if !self.small.is_empty() {
            let small = self.small.split().freeze();
            self.ready.push_back(small);
        }
    }

    fn end(&mut self) {
        self.broken = true;
        self.ready.clear();
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if state.broken || state.complete {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.small.len() >= MOST {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.small.extend_from_slice(buf);
        drop(state);
        self.0.written.notify_one();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Waits until all is sent.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        state.complete = true;
        if state.broken {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        drop(state);
        self.0.written.notify_one();
        Poll::Pending
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.state().complete = true;
        self.0.written.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn all_goes_out_in_order_whichever_way_it_came() {
        let (near, mut far) = tokio::io::duplex(1000);
        let mut outgoing = Outgoing::over(near);
        let requests = outgoing.requests();
        let mut expected = Vec::new();
        for n in 0..50_u8 {
            let small = [n; 30];
            outgoing.write_all(&small).await.unwrap();
            assert!(requests.send(vec![n; 40].into()));
            assert!(requests.send(vec![n; 9000].into()));
            expected.extend([&small[..], &[n; 40], &[n; 9000]].concat());
        }
        drop(outgoing);
        assert!(!requests.send(b"late"[..].into()), "nothing more is taken");
        let mut sent = vec![0; expected.len()];
        far.read_exact(&mut sent).await.unwrap();
        assert!(sent == expected);
    }
}
