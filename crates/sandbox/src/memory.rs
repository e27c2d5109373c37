//! A writer into memory, whose content can be had when the writer was given away.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

/// Writes into memory.
pub(crate) struct MemoryWriter(Arc<Mutex<Vec<u8>>>);

/// What was written.
pub(crate) struct MemoryContent(Arc<Mutex<Vec<u8>>>);

impl MemoryWriter {
    pub(crate) fn new() -> (Self, MemoryContent) {
        let shared = Arc::default();
        (Self(Arc::clone(&shared)), MemoryContent(shared))
    }
}

impl MemoryContent {
    pub(crate) fn take(self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl AsyncWrite for MemoryWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
