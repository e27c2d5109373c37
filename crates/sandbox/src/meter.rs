//! Counting what a transfer has moved, and telling it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::TransferProgress;

/// Who hears how far it is.
pub(crate) type Callback = dyn Fn(TransferProgress) + Send + Sync;

/// How often it is told.
const TICK: Duration = Duration::from_millis(100);
/// No total is known.
const UNKNOWN: u64 = u64::MAX;

/// What one transfer has moved. Counting costs an atomic addition.
pub(crate) struct Meter {
    bytes: AtomicU64,
    files: AtomicU64,
    total: AtomicU64,
    callback: Option<Arc<Callback>>,
    /// Held while it is told; whether that was the last time.
    told: Mutex<bool>,
}

impl Meter {
    /// A meter at zero, which tells until it is dropped.
    pub(crate) fn new(callback: Option<Arc<Callback>>) -> Arc<Self> {
        let (bytes, files, total) = (
            AtomicU64::new(0),
            AtomicU64::new(0),
            AtomicU64::new(UNKNOWN),
        );
        let meter = Arc::new(Self {
            bytes,
            files,
            total,
            callback,
            told: Mutex::new(false),
        });
        if meter.is_watched() {
            tokio::spawn(tell(Arc::downgrade(&meter)));
        }
        meter
    }

    /// Whether anybody listens.
    pub(crate) fn is_watched(&self) -> bool {
        self.callback.is_some()
    }

    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total.min(UNKNOWN - 1), Ordering::Relaxed);
    }

    pub(crate) fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn file_done(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells a last time.
    pub(crate) fn finish(&self) {
        self.tell(true);
    }

    fn tell(&self, last: bool) {
        let Some(callback) = &self.callback else {
            return;
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *told, last) {
            return;
        }
        let total = self.total.load(Ordering::Relaxed);
        let progress = TransferProgress {
            bytes: self.bytes.load(Ordering::Relaxed),
            total: (total != UNKNOWN).then_some(total),
            files: self.files.load(Ordering::Relaxed),
        };
        // Its state is its own; ours is not touched by it.
        if catch_unwind(AssertUnwindSafe(|| callback(progress))).is_err() {
            tracing::debug!("a progress callback panicked");
        }
    }
}

async fn tell(meter: Weak<Meter>) {
    while let Some(meter) = meter.upgrade() {
        meter.tell(false);
        drop(meter);
        tokio::time::sleep(TICK).await;
    }
}

/// Counts what is read from it or written to it.
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    pub(crate) fn new(stream: S, meter: &Arc<Meter>) -> Self {
        Self {
            stream,
            meter: Arc::clone(meter),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.meter.moved((buf.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf))?;
        self.meter.moved(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
