//! A byte stream that is read in parts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncWrite, ReadBuf};

use crate::{ByteStream, PartStream};

/// How much is read at once.
const READ_SIZE: usize = 64 << 10;

/// A byte stream that is read in parts, which are copies.
pub(super) struct PartReader<S> {
    stream: S,
    buffer: Box<[u8]>,
}

impl<S> PartReader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: vec![0; READ_SIZE].into(),
        }
    }
}

impl<S: ByteStream> PartStream for PartReader<S> {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut read = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        let part = read.filled();
        let is_end = part.is_empty();
        Poll::Ready(Ok((!is_end).then(|| Bytes::copy_from_slice(part))))
    }
}

impl<S: ByteStream> AsyncWrite for PartReader<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
