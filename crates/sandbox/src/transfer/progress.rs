//! Counts what a transfer has moved, and reports it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::sync::lock;

/// The progress of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferProgress {
    /// Bytes of content read from the source, all files together. In an upload, some of them may
    /// not have arrived yet.
    pub bytes: u64,
    /// The total number of bytes, once it is known: for a tree, after it was listed.
    pub total: Option<u64>,
    /// The number of complete files.
    pub files: u64,
}

/// Is called with the progress.
pub(crate) type Callback = dyn Fn(TransferProgress) + Send + Sync;

/// The interval of reports.
const INTERVAL: Duration = Duration::from_millis(100);
/// Stands for an unknown total.
const UNKNOWN: u64 = u64::MAX;

/// Counts the progress of one transfer. Counting costs one atomic addition.
pub(crate) struct Meter {
    bytes: AtomicU64,
    files: AtomicU64,
    total: AtomicU64,
    callback: Option<Arc<Callback>>,
    /// Whether the last report was made. Locked during a report, so that reports do not overlap.
    is_finished: Mutex<bool>,
}

impl Meter {
    /// Creates a meter at zero, which reports until it is dropped.
    pub(crate) fn new(callback: Option<Arc<Callback>>) -> Arc<Self> {
        let meter = Arc::new(Self {
            bytes: AtomicU64::new(0),
            files: AtomicU64::new(0),
            total: AtomicU64::new(UNKNOWN),
            callback,
            is_finished: Mutex::new(false),
        });
        if meter.is_watched() {
            tokio::spawn(report_periodically(Arc::downgrade(&meter)));
        }
        meter
    }

    /// Whether there is a callback.
    pub(crate) fn is_watched(&self) -> bool {
        self.callback.is_some()
    }

    pub(crate) fn set_total(&self, total: u64) {
        self.total.store(total.min(UNKNOWN - 1), Ordering::Relaxed);
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Makes the last report.
    pub(crate) fn finish(&self) {
        self.report(true);
    }

    fn report(&self, is_last: bool) {
        let Some(callback) = &self.callback else {
            return;
        };
        let mut is_finished = lock(&self.is_finished);
        if std::mem::replace(&mut *is_finished, is_last) {
            return;
        }
        let total = self.total.load(Ordering::Relaxed);
        let progress = TransferProgress {
            bytes: self.bytes.load(Ordering::Relaxed),
            total: (total != UNKNOWN).then_some(total),
            files: self.files.load(Ordering::Relaxed),
        };
        // A panic can break only the callback's own state, which this code does not use.
        if catch_unwind(AssertUnwindSafe(|| callback(progress))).is_err() {
            tracing::debug!("a progress callback panicked");
        }
    }
}

async fn report_periodically(meter: Weak<Meter>) {
    while let Some(meter) = meter.upgrade() {
        meter.report(false);
        drop(meter);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Counts the bytes that are read from a stream or written to it.
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
        self.meter.add_bytes((buf.filled().len() - before) as u64);
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
        self.meter.add_bytes(written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
