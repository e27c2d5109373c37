//! Reads and writes local files for large transfers.
//!
//! tokio's files switch to a blocking thread for each small piece, which costs more than reading or
//! writing it. These switch once for many pieces, and read or write while the transfer continues.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// How much is read or written at once, in bytes. A file has two buffers of this size.
const CHUNK: usize = 256 << 10;

/// An operation on a blocking thread. It returns the file, the buffer and the result.
type Work<T> = JoinHandle<(File, Vec<u8>, io::Result<T>)>;

/// Zeros that are written as a hole, in bytes: few enough to find them, and enough to be worth one
/// more extent of the file.
const HOLE: usize = 64 << 10;

/// Reads a file from its current position, at most to its end.
pub(crate) struct LocalReader {
    /// The data that was read, and how much of it was already returned.
    chunk: Vec<u8>,
    returned: usize,
    /// The next read; `None` after the end of the file.
    next: Option<Work<usize>>,
    /// How much is still to be read after that; the file may have grown meanwhile.
    left: u64,
    has_failed: bool,
}

impl LocalReader {
    /// Starts reading at most `size` bytes of a file.
    pub(crate) fn new(file: File, size: u64) -> Self {
        let length = usize::try_from(size).unwrap_or(CHUNK).min(CHUNK);
        Self {
            chunk: Vec::new(),
            returned: 0,
            next: (length > 0).then(|| read(file, vec![0; length])),
            left: size,
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
            buffer.truncate(read);
            let mut spare = std::mem::replace(&mut this.chunk, buffer);
            this.returned = 0;
            this.left -= read as u64;
            let length = usize::try_from(this.left).unwrap_or(CHUNK).min(CHUNK);
            if length > 0 {
                spare.resize(length, 0);
                this.next = Some(self::read(file, spare));
            }
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
    /// Whether blocks of zeros become holes.
    holes: bool,
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
            holes: false,
        }
    }

    /// Writes blocks of zeros as holes, which need no room on the disk. Nothing may follow the
    /// current position in the file.
    pub(crate) fn with_holes(file: File) -> Self {
        Self {
            holes: true,
            ..Self::new(file)
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
                let holes = self.holes;
                self.file = State::Writing(spawn_blocking(move || {
                    let written = if holes {
                        write_with_holes(&file, &chunk)
                    } else {
                        file.write_all(&chunk)
                    };
                    (file, chunk, written)
                }));
            }
            other => self.file = other,
        }
    }
}

/// Writes data at the end of a file, and blocks of zeros in it as holes.
pub(super) fn write_with_holes(mut file: &File, data: &[u8]) -> io::Result<()> {
    let (mut written, mut at) = (0, 0);
    let mut ends_with_hole = false;
    for block in data.chunks(HOLE) {
        ends_with_hole = is_zero(block);
        if ends_with_hole {
            file.write_all(&data[written..at])?;
            let end = file.seek(SeekFrom::Current(
                block.len().try_into().unwrap_or(i64::MAX),
            ))?;
            written = at + block.len();
            if written == data.len() {
                // A hole at the end needs the length of the file.
                file.set_len(end)?;
            }
        }
        at += block.len();
    }
    if ends_with_hole {
        return Ok(());
    }
    file.write_all(&data[written..])
}

fn is_zero(block: &[u8]) -> bool {
    // Each byte equals the one before it, and the first is zero.
    match block {
        [] => true,
        [first, rest @ ..] => *first == 0 && *rest == block[..rest.len()],
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
            for announced in [0, size as u64 / 2, size as u64, u64::MAX] {
                file.rewind().unwrap();
                let mut back = Vec::new();
                LocalReader::new(file.try_clone().unwrap(), announced)
                    .read_to_end(&mut back)
                    .await
                    .unwrap();
                let expected = size.min(usize::try_from(announced).unwrap());
                assert!(
                    back == data[..expected],
                    "{size} bytes, {announced} announced"
                );
            }
        }
    }

    #[tokio::test]
    async fn zeros_become_holes_and_are_read_back() {
        for (zeros, rest) in [
            (8 << 20, 0),
            (8 << 20, 3),
            (HOLE, HOLE),
            (CHUNK + 5, 0),
            (1, 0),
            (0, 0),
        ] {
            let mut file = tempfile::tempfile().unwrap();
            let data = [vec![0; zeros], vec![7; rest], vec![0; zeros]].concat();
            let mut writer = LocalWriter::with_holes(file.try_clone().unwrap());
            for part in data.chunks(70_001) {
                writer.write_all(part).await.unwrap();
            }
            writer.flush().await.unwrap();
            file.rewind().unwrap();
            let mut back = Vec::new();
            file.read_to_end(&mut back).unwrap();
            assert!(back == data, "{zeros} zeros, {rest} others");
            #[cfg(target_os = "linux")]
            if zeros > 1 << 20 {
                use std::os::linux::fs::MetadataExt;
                let blocks = file.metadata().unwrap().st_blocks();
                assert!(blocks * 512 < 1 << 20, "{blocks} blocks are used");
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
