//! Copies a tree as one stream of entries, where the server has that: sandbox-sshd.
//!
//! See [`tree_stream`](sandbox_core::tree_stream) for the protocol. Local files are read and written
//! on one blocking thread, a batch of entries at a time.

mod budget;
pub(super) mod download;
mod incoming_file;
mod local_sink;
mod local_source;
mod replies;
pub(super) mod upload;

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sandbox_core::tree_stream::{Failure, MalformedFrame, take_frame};
use sandbox_core::{Direction, Error, Escaped, FilePath, TransferReason};
use tokio::io::{AsyncRead, AsyncReadExt};

pub(super) use local_source::LocalTop;

/// How much is read from the stream at once, in bytes.
const READ_LEN: usize = 256 << 10;
/// The most characters of a server's message that are repeated.
const MAX_MESSAGE_LEN: usize = 300;

/// Reads the frames that a server sends.
struct FrameReader<R> {
    from: R,
    received: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            received: BytesMut::new(),
        }
    }

    /// Waits for the next frame.
    async fn next(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(frame) = take_frame(&mut self.received)? {
                return Ok(frame);
            }
            self.received.reserve(READ_LEN);
            if self.from.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The copy of one tree, for errors.
pub(super) struct Subject {
    pub(super) direction: Direction,
    /// The top directory in the sandbox.
    pub(super) remote: FilePath,
}

impl Subject {
    /// Returns the path in the sandbox of an entry.
    fn path_of(&self, name: &FilePath) -> FilePath {
        if name.is_empty() {
            self.remote.clone()
        } else {
            self.remote.join(name)
        }
    }

    /// Creates the error of what the server could not do.
    fn failure_error(&self, name: &FilePath, failure: &Failure<'_>) -> Error {
        let message = match failure.reason {
            TransferReason::NotFound => "there is no such file or directory".to_owned(),
            TransferReason::PermissionDenied => "permission denied".to_owned(),
            _ if failure.message.is_empty() => "the server gave no reason".to_owned(),
            _ => Escaped::new(failure.message)
                .with_max_chars(MAX_MESSAGE_LEN)
                .to_string(),
        };
        // Only this side can know that the connection is lost.
        let reason = match failure.reason {
            TransferReason::Lost => TransferReason::Other,
            reason => reason,
        };
        let path = self.path_of(name);
        Error::transfer(failure.direction, path, reason, message, None)
    }

    /// Creates the error of a stream that ended too early or violates the protocol.
    fn stream_error(&self, source: io::Error) -> Error {
        let is_invalid = source.kind() == io::ErrorKind::InvalidData;
        let (reason, message) = if is_invalid {
            (TransferReason::Other, source.to_string())
        } else {
            (TransferReason::Lost, "the connection was lost".to_owned())
        };
        let path = self.remote.clone();
        let source = Some(source.into()).filter(|_| !is_invalid);
        Error::transfer(self.direction, path, reason, message, source)
    }

    fn malformed_error(&self, error: MalformedFrame) -> Error {
        self.stream_error(error.into())
    }

    fn violation_error(&self, what: &str) -> Error {
        let message = format!("invalid stream of a tree: {what}");
        self.stream_error(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    fn silence_error(&self, silence: Duration) -> Error {
        let message = format!("the server did not answer within {silence:?}");
        let path = self.remote.clone();
        Error::transfer(self.direction, path, TransferReason::Lost, message, None)
    }
}

/// Creates the error of a panic on the thread that reads or writes local files.
fn aborted_error(subject: &Subject, panic: tokio::task::JoinError) -> Error {
    Error::transfer(
        subject.direction,
        &subject.remote,
        TransferReason::Other,
        "local file access was aborted",
        Some(Box::new(panic)),
    )
}

#[cfg(test)]
mod tests;
