//! Files that are larger than they were when their tree was listed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// How many bytes the files of a tree may grow together, without exceeding its limit.
pub(super) struct Room(AtomicU64);

impl Room {
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(bytes)))
    }

    /// Takes at most this many bytes. Returns how many there were.
    pub(super) fn take(&self, wanted: u64) -> u64 {
        let take = |left: u64| Some(left.saturating_sub(wanted));
        let before = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before.unwrap_or_else(|left| left).min(wanted)
    }

    fn give_back(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Passes on as many bytes as a file had when it was listed, and more as long as there is room.
pub(super) struct GrowingFile<W> {
    to: W,
    listed: u64,
    room: Arc<Room>,
}

impl<W> GrowingFile<W> {
    pub(super) fn new(to: W, listed: u64, room: &Arc<Room>) -> Self {
        Self {
            to,
            listed,
            room: Arc::clone(room),
        }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for GrowingFile<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let wanted = buf.len() as u64;
        let is_listed = this.listed > 0;
        let allowed = if is_listed {
            this.listed.min(wanted)
        } else {
            this.room.take(wanted)
        };
        if allowed == 0 && wanted > 0 {
            return Poll::Ready(Err(io::Error::other(
                "it has grown since it was listed, beyond the limit of the tree",
            )));
        }
        // It is at most the length of the buffer.
        let part = &buf[..usize::try_from(allowed).unwrap_or(buf.len())];
        let written = Pin::new(&mut this.to).poll_write(cx, part);
        let used = match &written {
            Poll::Ready(Ok(used)) => *used as u64,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        if is_listed {
            this.listed -= used;
        } else {
            this.room.give_back(allowed - used);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.to).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn files_grow_as_far_as_there_is_room() {
        let room = Room::new(10);
        let mut one = GrowingFile::new(Vec::new(), 5, &room);
        one.write_all(&[1; 12]).await.unwrap();
        let mut other = GrowingFile::new(Vec::new(), 5, &room);
        other.write_all(&[1; 8]).await.unwrap();
        other.write_all(&[1; 1]).await.unwrap_err();
        assert_eq!((one.to.len(), other.to.len()), (12, 8));
    }
}
