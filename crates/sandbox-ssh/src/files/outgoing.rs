//! Requests on their way to the server, put together.
//!
//! As channel data each would be a packet of SSH, to be encrypted and sent alone, and that costs
//! more than a small request itself. So they are gathered while earlier ones are being sent, which
//! makes no request wait. What carries a piece of a file is large enough to go as it is, without
//! being copied once more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::ChannelWriteHalf;
use russh::client::Msg;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::transport::Life;

/// Requests of so many bytes go as they are.
const LARGE: usize = 4 << 10;

/// The sending side of a session. A task of its own sends, and ends when this is dropped and all is
/// sent.
pub(super) struct Outgoing {
    shared: Arc<Shared>,
    sent: CancellationToken,
}

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
    /// Nothing more will come.
    complete: bool,
    /// Nothing more can be sent.
    broken: bool,
}

impl Outgoing {
    pub(super) fn new(channel: Arc<ChannelWriteHalf<Msg>>, life: Life) -> Self {
        Self::by(move |bytes| {
            let (channel, life) = (Arc::clone(&channel), life.clone());
            async move {
                tokio::select! {
                    biased;
                    sent = channel.data_bytes(bytes) => sent.is_ok(),
                    // russh waits for ever for the window of a connection that has ended.
                    () = life.ended() => false,
                }
            }
        })
    }

    /// Over any stream.
    #[cfg(test)]
    pub(super) fn over(stream: impl tokio::io::AsyncWrite + Send + Unpin + 'static) -> Self {
        let stream = Arc::new(tokio::sync::Mutex::new(stream));
        Self::by(move |bytes: Bytes| {
            let stream = Arc::clone(&stream);
            async move {
                tokio::io::AsyncWriteExt::write_all(&mut *stream.lock().await, &bytes)
                    .await
                    .is_ok()
            }
        })
    }

    fn by<S>(send: impl Fn(Bytes) -> S + Send + 'static) -> Self
    where
        S: Future<Output = bool> + Send,
    {
        let (shared, sent) = (Arc::<Shared>::default(), CancellationToken::new());
        let (queue, end) = (Arc::clone(&shared), sent.clone().drop_guard());
        tokio::spawn(async move {
            let _end = end;
            while let Some(bytes) = queue.next().await {
                if !send(bytes).await {
                    break;
                }
            }
            queue.state().end();
        });
        Self { shared, sent }
    }

    /// Sends a whole request after all that came before; whether it can be.
    pub(super) fn send(&self, request: Bytes) -> bool {
        let mut state = self.shared.state();
        if state.broken {
            return false;
        }
        if request.len() < LARGE {
            state.small.extend_from_slice(&request);
        } else {
            state.seal();
            state.ready.push_back(request);
        }
        drop(state);
        self.shared.written.notify_one();
        true
    }

    /// Cancelled once nothing more is sent.
    pub(super) fn sent(&self) -> CancellationToken {
        self.sent.clone()
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.shared.state().complete = true;
        self.shared.written.notify_one();
    }
}

impl Shared {
    /// All that came since, as soon as something has; `None` after the last.
    async fn next(&self) -> Option<Bytes> {
        loop {
            {
                let mut state = self.state();
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn all_goes_out_in_order_whatever_its_size() {
        let (near, mut far) = tokio::io::duplex(1000);
        let outgoing = Outgoing::over(near);
        let sent = outgoing.sent();
        let mut expected = Vec::new();
        for n in 0..50_u8 {
            for size in [30, 9000, 40] {
                assert!(outgoing.send(vec![n; size].into()));
                expected.extend(vec![n; size]);
            }
        }
        drop(outgoing);
        let mut came = vec![0; expected.len()];
        far.read_exact(&mut came).await.unwrap();
        assert!(came == expected);
        sent.cancelled().await;
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_refused() {
        let (near, far) = tokio::io::duplex(10);
        let outgoing = Outgoing::over(near);
        drop(far);
        outgoing.send(vec![1; 20].into());
        outgoing.sent().cancelled().await;
        assert!(!outgoing.send(vec![1; 20].into()));
    }
}
