//! The data plane: what is done inside a sandbox.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::dialect::JobRecord;
use crate::{
    Access, ByteStream, Deadline, DownloadRequest, ExecRequest, FileInfo, JobId, Output, Process, Result,
    Uid, UploadRequest,
};

/// Where the bytes of an upload come from.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// Where the bytes of a download go.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Commands and files in one sandbox.
///
/// A session stands for the sandbox's whole pool of connections, so many tasks may use it at
/// once. Every future may be dropped at any point; what was begun is then undone or ended as
/// each method says, and no channel or file stays behind.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Session: Debug + Send + Sync + 'static {
    /// Starts a command whose output is read at the caller's pace.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection), or [`Invalid`](crate::Error::Invalid) for a
    /// command that cannot be sent. Once it may have started, it is never sent again.
    async fn exec(&self, request: ExecRequest) -> Result<Process>;

    /// Runs a command to its end and collects its output, at most `cap` bytes of each stream.
    /// Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec), and [`Command`](crate::Error::Command) when it ran into its
    /// time-out or its end is unknown. A non-zero exit is no error.
    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output>;

    /// Writes a file; it appears under its name when complete. Dropping the future leaves the
    /// former file as it was.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer); then nothing of it is left.
    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64>;

    /// Adds to the end of a file, which is made with mode 0o644 when it is not there. Gives how
    /// many bytes.
    ///
    /// The server adds each piece at what is the end then, in their order, so concurrent
    /// writers never overwrite each other. What fits one piece, at least 32,000 bytes, is
    /// added as one and comes out whole; pieces of more may lie between those of others.
    /// Nothing is undone: after a failure, or when the future is dropped, a beginning of it
    /// may be there.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn append(&self, path: &str, from: Reader) -> Result<u64>;

    /// The SHA-256 of a part of a file, from its first byte to the one before the end of
    /// `range`; of less where the file ends before. `None` when the server cannot tell: ours
    /// can, and another one that runs `sh`, `tail`, `head` and `sha256sum`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer) when the file cannot be read.
    async fn sha256(&self, path: &str, range: Range<u64>) -> Result<Option<[u8; 32]>>;

    /// Reads a file into `to`, and flushes it.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer) also when fewer bytes came than the file has.
    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64>;

    /// What a path is; a symbolic link is followed when `follow` is set.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo>;

    /// The entries of a directory, without `.` and `..`, in no order.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer), also for an entry whose name could lead astray.
    async fn list(&self, path: &str) -> Result<Vec<FileInfo>>;

    /// Makes a directory; with `parents`, those above it too, and one that is there is fine.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn create_dir(&self, path: &str, parents: bool) -> Result<()>;

    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn rename(&self, from: &str, to: &str) -> Result<()>;

    /// Removes a file or a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn remove_file(&self, path: &str) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn remove_dir(&self, path: &str) -> Result<()>;

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn set_mode(&self, path: &str, mode: u32) -> Result<()>;

    /// Makes a symbolic link at `path` that holds `target`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn symlink(&self, target: &str, path: &str) -> Result<()>;

    /// What a symbolic link holds; as untrusted as everything from a sandbox.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn read_link(&self, path: &str) -> Result<String>;

    /// The absolute form of a path; that of `.` is the home directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn canonicalize(&self, path: &str) -> Result<String>;

    /// A stream to a TCP port inside the sandbox (SSH `direct-tcpip`, RFC 4254 §7.2).
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) when nothing listens there.
    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>>;

    /// Starts a job: a command that outlives this client, with its output in a capped file.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec); [`Command`](crate::Error::Command) when it cannot start, and
    /// [`Unsupported`](crate::Error::Unsupported) by a server that is not ours.
    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()>;

    /// Lets the sandbox's own server live for `ttl` from now, in whole seconds, never shorter
    /// than it would and at most until its hard end. Returns how long that is.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn extend(&self, ttl: Duration) -> Result<Duration>;

    /// The jobs of this sandbox, those that ended included, oldest first.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn jobs(&self) -> Result<Vec<JobRecord>>;

    /// A job's log as standard output, and its end as the exit. Signals reach the job, and
    /// dropping the process only lets go of it.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process>;
}

/// Which part of a job's log to get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// The first byte of the log that is wanted; `u64::MAX` for none.
    pub offset: u64,
    /// Stay until the job has ended. Without, the process of a running job ends without an
    /// [`Exited`](crate::ExecEvent::Exited).
    pub follow: bool,
}

impl AttachOptions {
    /// The log from its beginning to the end of the job.
    pub fn follow() -> Self {
        Self { offset: 0, follow: true }
    }

    /// Only the end of the job.
    pub fn wait() -> Self {
        Self { offset: u64::MAX, follow: true }
    }

    /// What the log holds now.
    pub fn snapshot() -> Self {
        Self { offset: 0, follow: false }
    }
}

/// Hands out sessions. Pooling, the pinned host key and reconnecting live behind it.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SessionSource: Debug + Send + Sync + 'static {
    /// A session to the sandbox, with at least one connection that has authenticated: this is
    /// what *ready* means. A server that does not listen yet is tried again until the deadline.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) with the stage that failed.
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>>;

    /// Closes every connection to this instance, and ends what runs over them.
    async fn evict(&self, uid: &Uid);

    /// Waits until what dropped futures left inside of sandboxes, such as half-written files, is
    /// removed. A source that leaves nothing has nothing to do.
    async fn settle(&self) {}
}
