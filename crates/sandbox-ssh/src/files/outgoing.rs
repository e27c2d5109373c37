//! Requests on their way to the server, put together.
//!
//! russh-sftp writes each request by itself. As channel data each would be a packet of SSH, to
//! be encrypted and sent alone, and that costs more than a small request itself. So they are
//! gathered while earlier ones are being sent, which makes no request wait.

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

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Default)]
struct State {
    bytes: BytesMut,
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
    let mut state = shared.state();
    state.broken = true;
    state.wake();
}

impl Shared {
    /// All that was written since, as soon as something was; `None` after the last.
    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
                if !state.bytes.is_empty() {
                    state.wake();
                    return Some(state.bytes.split().freeze());
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
        if state.bytes.len() >= MOST {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.bytes.extend_from_slice(buf);
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
