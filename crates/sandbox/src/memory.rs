//! A writer into memory, whose content remains available after the writer was moved away.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWrite;

use crate::sync::lock;

/// Writes into memory.
pub(crate) struct MemoryWriter(Arc<Mutex<Vec<u8>>>);

/// The content that a [`MemoryWriter`] has written.
pub(crate) struct MemoryContent(Arc<Mutex<Vec<u8>>>);

impl MemoryWriter {
    pub(crate) fn new() -> (Self, MemoryContent) {
        let shared = Arc::default();
        (Self(Arc::clone(&shared)), MemoryContent(shared))
    }
}

impl MemoryContent {
    pub(crate) fn take(self) -> Bytes {
        std::mem::take(&mut *lock(&self.0)).into()
    }
}

impl AsyncWrite for MemoryWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        lock(&self.0).extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
