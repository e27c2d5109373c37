//! Reads and writes local files for large transfers.
//!
//! tokio's files switch to a blocking thread for each small piece, which costs more than reading or
//! writing it. These switch once for many pieces, and read or write while the transfer continues.

use std::fs::File;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// How much is read or written at once, in bytes. A file has two buffers of this size.
const CHUNK: usize = 256 << 10;

/// An operation on a blocking thread. It returns the file, the buffer and the result.
type Work<T> = JoinHandle<(File, Vec<u8>, io::Result<T>)>;

/// Reads a file from its current position to its end.
pub(crate) struct LocalReader {
    /// The data that was read, and how much of it was already returned.
    chunk: Vec<u8>,
    returned: usize,
    /// The next read; `None` after the end of the file.
    next: Option<Work<usize>>,
    has_failed: bool,
}

impl LocalReader {
    /// Starts reading a file of about `size` bytes.
    pub(crate) fn new(file: File, size: u64) -> Self {
        // One byte more, so that a single read also finds the end of a small file.
        let length = usize::try_from(size.saturating_add(1))
            .unwrap_or(CHUNK)
            .min(CHUNK);
        Self {
            chunk: Vec::new(),
            returned: 0,
            next: Some(read(file, vec![0; length])),
            has_failed: false,
        }
    }
}

fn read(mut file: File, mut buffer: Vec<u8>) -> Work<usize> {
    spawn_blocking(move || {
        let read = loop {
            match file.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        (file, buffer, read)
    })
}

impl AsyncRead for LocalReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.returned == this.chunk.len() {
            let Some(next) = &mut this.next else {
                // After a failure, the end of the file must not be reported.
                return Poll::Ready(if this.has_failed {
                    Err(io::ErrorKind::Other.into())
                } else {
                    Ok(())
                });
            };
            let work = ready!(Pin::new(next).poll(cx));
            (this.next, this.has_failed) = (None, true);
            let (file, mut buffer, read) = work.map_err(io::Error::other)?;
            let read = read?;
            this.has_failed = false;
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            let length = buffer.len();
            buffer.truncate(read);
            let mut spare = std::mem::replace(&mut this.chunk, buffer);
            spare.resize(length, 0);
            this.returned = 0;
            this.next = Some(self::read(file, spare));
        }
        let rest = &this.chunk[this.returned..];
        let amount = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..amount]);
        this.returned += amount;
        Poll::Ready(Ok(()))
    }
}

/// Writes to a file at its current position. The last data is in the file only after a flush.
pub(crate) struct LocalWriter {
    chunk: Vec<u8>,
    file: State,
}

enum State {
    /// Nothing is being written. The buffer is spare.
    Idle(File, Vec<u8>),
    Writing(Work<()>),
    Failed,
}

impl LocalWriter {
    pub(crate) fn new(file: File) -> Self {
        Self {
            chunk: Vec::new(),
            file: State::Idle(file, Vec::new()),
        }
    }

    /// Waits until the write in progress is done.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.file {
            State::Idle(..) => Poll::Ready(Ok(())),
            State::Failed => Poll::Ready(Err(io::Error::other("an earlier write failed"))),
            State::Writing(work) => {
                let work = ready!(Pin::new(work).poll(cx));
                self.file = State::Failed;
                let (file, buffer, written) = work.map_err(io::Error::other)?;
                written?;
                self.file = State::Idle(file, buffer);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Starts writing the buffered data, unless a write is in progress.
    fn start_write(&mut self) {
        match std::mem::replace(&mut self.file, State::Failed) {
            State::Idle(mut file, mut spare) => {
                spare.clear();
                let chunk = std::mem::replace(&mut self.chunk, spare);
                self.file = State::Writing(spawn_blocking(move || {
                    let written = file.write_all(&chunk);
                    (file, chunk, written)
                }));
            }
            other => self.file = other,
        }
    }
}

impl AsyncWrite for LocalWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.chunk.len() >= CHUNK {
            ready!(self.poll_idle(cx))?;
            self.start_write();
        }
        let amount = buf.len().min(CHUNK - self.chunk.len());
        if self.chunk.len() + amount > self.chunk.capacity() && !self.chunk.is_empty() {
            // The buffer grows once, to its final size.
            let room = CHUNK - self.chunk.len();
            self.chunk.reserve_exact(room);
        }
        self.chunk.extend_from_slice(&buf[..amount]);
        if self.chunk.len() >= CHUNK && matches!(self.file, State::Idle(..)) {
            self.start_write();
        }
        Poll::Ready(Ok(amount))
    }

    /// Waits until all data is passed to the system. It does not sync the disk.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_idle(cx))?;
            if self.chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.start_write();
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn test_data(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| (n * n % 251) as u8).collect()
    }

    #[tokio::test]
    async fn a_file_is_read_back_as_it_was_written() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 17] {
            let mut file = tempfile::tempfile().unwrap();
            let data = test_data(size);
            let mut writer = LocalWriter::new(file.try_clone().unwrap());
            for part in data.chunks(70_001) {
                writer.write_all(part).await.unwrap();
            }
            writer.flush().await.unwrap();
            for announced in [0, size as u64, u64::MAX] {
                file.rewind().unwrap();
                let mut back = Vec::new();
                LocalReader::new(file.try_clone().unwrap(), announced)
                    .read_to_end(&mut back)
                    .await
                    .unwrap();
                assert!(back == data, "{size} bytes, {announced} announced");
            }
        }
    }

    #[tokio::test]
    async fn a_failure_is_returned_by_all_later_calls() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = LocalWriter::new(File::open(file.path()).unwrap());
        writer.write_all(b"not for writing").await.unwrap();
        writer.flush().await.unwrap_err();
        writer.flush().await.unwrap_err();
        let directory = tempfile::tempdir().unwrap();
        let mut reader = LocalReader::new(File::open(directory.path()).unwrap(), 1);
        reader.read_u8().await.unwrap_err();
        assert_ne!(
            reader.read_u8().await.unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
