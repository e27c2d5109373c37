//! Sends requests in batches.
//!
//! Sent alone, each request would be an SSH packet of its own, and encrypting and sending a packet
//! costs more than a small request. So requests are batched while earlier ones are being sent, which
//! delays none of them. A request that carries a piece of a file is large enough for a packet of its
//! own, and is not copied into a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::transport::KillSwitch;

/// Requests of at least this many bytes are not batched.
const LARGE: usize = 4 << 10;

/// The sending side of a session. A task of its own sends; it ends once this is dropped and all
/// requests are sent.
pub(crate) struct Outgoing {
    shared: Arc<Shared>,
    finished: CancellationToken,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    written: Notify,
}

#[derive(Default)]
struct State {
    /// Sent before the batch.
    ready: VecDeque<Bytes>,
    batch: BytesMut,
    /// No request will be added.
    complete: bool,
    /// Nothing can be sent any more.
    broken: bool,
}

impl Outgoing {
    pub(super) fn new(channel: Arc<ChannelWriteHalf<Msg>>, kill_switch: KillSwitch) -> Self {
        Self::from_fn(move |bytes| {
            let channel = Arc::clone(&channel);
            let kill_switch = kill_switch.clone();
            async move {
                tokio::select! {
                    biased;
                    sent = channel.data_bytes(bytes) => sent.is_ok(),
                    // russh never stops waiting for the window of a connection that has ended.
                    () = kill_switch.wait_ended() => false,
                }
            }
        })
    }

    #[cfg(test)]
    pub(crate) fn from_writer(stream: impl tokio::io::AsyncWrite + Send + Unpin + 'static) -> Self {
        let stream = Arc::new(tokio::sync::Mutex::new(stream));
        Self::from_fn(move |bytes: Bytes| {
            let stream = Arc::clone(&stream);
            async move {
                tokio::io::AsyncWriteExt::write_all(&mut *stream.lock().await, &bytes)
                    .await
                    .is_ok()
            }
        })
    }

    fn from_fn<S>(send: impl Fn(Bytes) -> S + Send + 'static) -> Self
    where
        S: Future<Output = bool> + Send,
    {
        let shared = Arc::<Shared>::default();
        let finished = CancellationToken::new();
        let queue = Arc::clone(&shared);
        let end = finished.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            while let Some(bytes) = queue.next().await {
                if !send(bytes).await {
                    break;
                }
            }
            queue.lock().end();
        });
        Self { shared, finished }
    }

    /// Sends a whole request after all earlier ones; `false` if nothing can be sent any more.
    pub(super) fn send(&self, request: Bytes) -> bool {
        let mut state = self.shared.lock();
        if state.broken {
            return false;
        }
        if request.len() < LARGE {
            state.batch.extend_from_slice(&request);
        } else {
            state.seal();
            state.ready.push_back(request);
        }
        drop(state);
        self.shared.written.notify_one();
        true
    }

    /// Cancelled once nothing more will be sent.
    pub(super) fn finished(&self) -> CancellationToken {
        self.finished.clone()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.shared.lock().complete = true;
        self.shared.written.notify_one();
    }
}

impl Shared {
    /// Waits for the next bytes to send; `None` after the last.
    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.lock();
                if state.ready.is_empty() {
                    state.seal();
                }
                if let Some(bytes) = state.ready.pop_front() {
                    return Some(bytes);
                }
                if state.complete {
                    return None;
                }
            }
            self.written.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Closes the current batch.
    fn seal(&mut self) {
        if !self.batch.is_empty() {
            let batch = self.batch.split().freeze();
            self.ready.push_back(batch);
        }
    }

    fn end(&mut self) {
        self.broken = true;
        self.ready.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn requests_are_sent_in_order_whatever_their_size() {
        let (near, mut far) = tokio::io::duplex(1000);
        let outgoing = Outgoing::from_writer(near);
        let finished = outgoing.finished();
        let mut expected = Vec::new();
        for n in 0..50_u8 {
            for size in [30, 9000, 40] {
                assert!(outgoing.send(vec![n; size].into()));
                expected.extend(vec![n; size]);
            }
        }
        drop(outgoing);
        let mut received = vec![0; expected.len()];
        far.read_exact(&mut received).await.unwrap();
        assert!(received == expected);
        finished.cancelled().await;
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_sent_is_refused() {
        let (near, far) = tokio::io::duplex(10);
        let outgoing = Outgoing::from_writer(near);
        drop(far);
        outgoing.send(vec![1; 20].into());
        outgoing.finished().cancelled().await;
        assert!(!outgoing.send(vec![1; 20].into()));
    }
}
