//! Sends the content of a file, which may change meanwhile.
//!
//! A file that grows is sent as long as it was when it was opened.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;
use sandbox_core::tree_stream::{Frame, MAX_CONTENT, UNKNOWN_SIZE};
use sandbox_core::{Direction, TransferReason};
use tokio::io::AsyncWrite;

use super::problem::Problem;
use super::send::{Batch, to_attributes};

const DOWNLOAD: Direction = Direction::Download;
/// The most bytes of a file whose size is given as 0, as that of files which are generated when they
/// are read (in `/proc`). 256 MiB.
const MAX_GENERATED: u64 = 256 << 20;

/// Sends files, of a limited number of bytes together.
pub(super) struct FileSender {
    bytes_left: u64,
    buffer: Vec<u8>,
}

impl FileSender {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes_left: bytes,
            buffer: vec![0; MAX_CONTENT],
        }
    }

    /// Sends a file, or why it cannot be read.
    pub(super) async fn send<W: AsyncWrite + Unpin>(
        &mut self,
        batch: &mut Batch<'_, W>,
        path: &Path,
        name: &[u8],
    ) -> io::Result<()> {
        match self.try_send(batch, path, name).await {
            Ok(()) => Ok(()),
            Err(Interrupted::Closed(error)) => Err(error),
            Err(Interrupted::BeforeContent(problem)) => {
                let failure = problem.as_failure();
                batch.add(&Frame::Failed { name, failure });
                Ok(())
            }
            Err(Interrupted::InContent(problem)) => {
                batch.add(&Frame::FileAborted(problem.as_failure()));
                Ok(())
            }
        }
    }

    async fn try_send<W: AsyncWrite + Unpin>(
        &mut self,
        batch: &mut Batch<'_, W>,
        path: &Path,
        name: &[u8],
    ) -> Result<(), Interrupted> {
        let failed = |error: io::Error| Interrupted::BeforeContent(Problem::new(DOWNLOAD, &error));
        let mut file = open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(failed(io::Error::other("it is no regular file any more")));
        }
        let attributes = to_attributes(&metadata);
        let size = metadata.len();
        if size > self.bytes_left {
            return Err(Interrupted::BeforeContent(grown()));
        }
        let limit = if size == 0 {
            self.bytes_left.min(MAX_GENERATED)
        } else {
            size
        };

        // Most files are a single frame. One byte more than allowed shows whether a generated file has
        // ended.
        let beyond = u64::from(size == 0);
        let wanted = usize::try_from(limit + beyond).unwrap_or(MAX_CONTENT);
        let wanted = wanted.min(MAX_CONTENT);
        let read = read_full(&mut file, &mut self.buffer[..wanted]).map_err(failed)?;
        if read as u64 > limit {
            return Err(Interrupted::BeforeContent(grown()));
        }
        if read < wanted && size > 0 {
            return Err(Interrupted::BeforeContent(shrunk(size, read as u64)));
        }
        // Files of /proc have content although their size is zero.
        let is_whole = read as u64 == size || size == 0 && read < wanted;
        batch.add(&Frame::File {
            name,
            attributes,
            size: match size {
                0 if is_whole => read as u64,
                0 => UNKNOWN_SIZE,
                size => size,
            },
            is_whole,
            content: &self.buffer[..read],
        });
        self.bytes_left -= read as u64;
        if is_whole {
            return Ok(());
        }
        self.send_rest(batch, file, size, limit - read as u64).await
    }

    /// Sends what follows the first frame, at most `left` bytes.
    async fn send_rest<W: AsyncWrite + Unpin>(
        &mut self,
        batch: &mut Batch<'_, W>,
        mut file: File,
        size: u64,
        mut left: u64,
    ) -> Result<(), Interrupted> {
        loop {
            batch.send_if_large().await.map_err(Interrupted::Closed)?;
            let wanted = usize::try_from(left)
                .unwrap_or(MAX_CONTENT)
                .min(MAX_CONTENT);
            let read = match wanted {
                // One byte more than allowed shows whether a generated file has ended.
                0 if size == 0 => read_full(&mut file, &mut self.buffer[..1]),
                wanted => read_full(&mut file, &mut self.buffer[..wanted]),
            };
            let read =
                read.map_err(|error| Interrupted::InContent(Problem::new(DOWNLOAD, &error)))?;
            if read > wanted {
                return Err(Interrupted::InContent(grown()));
            }
            if read < wanted && size > 0 {
                let sent = size - left + read as u64;
                return Err(Interrupted::InContent(shrunk(size, sent)));
            }
            if read > 0 {
                batch.add(&Frame::Content(&self.buffer[..read]));
                left -= read as u64;
                self.bytes_left -= read as u64;
            }
            if read < wanted || wanted == 0 || left == 0 && size > 0 {
                batch.add(&Frame::FileEnd);
                return Ok(());
            }
        }
    }
}

/// Why a file is not sent to its end.
enum Interrupted {
    BeforeContent(Problem),
    InContent(Problem),
    /// The channel is closed.
    Closed(io::Error),
}

/// Opens a file. Without O_NONBLOCK, opening a FIFO that has replaced it would block.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)
}

/// Reads until the buffer is full, or to the end of the file.
fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn grown() -> Problem {
    Problem::with_reason(
        DOWNLOAD,
        TransferReason::TooLarge,
        "it has grown since it was listed, beyond the limit of the tree",
    )
}

fn shrunk(size: u64, found: u64) -> Problem {
    Problem::with_reason(
        DOWNLOAD,
        TransferReason::SizeChanged,
        format!("it had {size} bytes and then {found}: it changed while it was read"),
    )
}
