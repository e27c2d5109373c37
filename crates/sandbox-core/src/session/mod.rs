//! The data plane: operations inside a sandbox.

mod exec;
mod file;
mod output;
mod process;
mod signal;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::protocol::JobRecord;
use crate::{Access, ByteStream, Deadline, JobId, Result, Uid};

pub use exec::{Env, ExecRequest, Program, Pty, PtySize};
pub use file::{DownloadRequest, FileInfo, FileKind, UploadRequest, partial_name};
pub use output::{ExitStatus, Output, OutputCollector};
pub use process::{
    ControlMessage, ExecEvent, Process, ProcessControl, ProcessDriver, ProcessStdin,
};
pub use signal::Signal;

/// The source of an upload.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The target of a download.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Commands and files in one sandbox.
///
/// A session represents the sandbox's whole pool of connections, so many tasks may use it at once. Every
/// future may be dropped at any point. What was started is then undone or ended, as each method says,
/// and no channel or file stays behind.
///
/// ```
/// use sandbox_core::{ExecRequest, Output, Result, Session};
///
/// async fn uname(session: &dyn Session) -> Result<String> {
///     let request = ExecRequest::from_argv(["uname", "-s"]);
///     let out = session.output(request, Output::DEFAULT_CAP).await?.check()?;
///     Ok(out.stdout_lossy())
/// }
/// ```
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Session: Debug + Send + Sync + 'static {
    /// Starts a command whose output the caller reads at its own pace.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection), or [`Invalid`](crate::Error::Invalid) for a command that
    /// cannot be sent. A command that may have started is never sent again.
    async fn exec(&self, request: ExecRequest) -> Result<Process>;

    /// Runs a command to its end and collects its output, at most `cap` bytes of each stream.
    /// Dropping the future ends the command.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec), and [`Command`](crate::Error::Command) if it timed out or its end is
    /// unknown. A non-zero exit code is not an error.
    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output>;

    /// Writes a file, which appears under its name when it is complete. Dropping the future leaves an
    /// existing file unchanged. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer); nothing of the new file is then left behind, except the
    /// partial file of a resumable upload.
    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64>;

    /// Appends to a file, which is created with mode 0o644 if it does not exist. Returns the number of
    /// bytes.
    ///
    /// The server writes each piece at the end of the file at that moment, in order, so concurrent writers
    /// never overwrite each other. Content that fits into one piece, of at least 32,000 bytes, stays
    /// together. Pieces of longer content may be interleaved with those of other writers. Nothing is
    /// undone: after a failure, or if the future is dropped, the beginning may have been written.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn append(&self, path: &str, from: Reader) -> Result<u64>;

    /// Returns the SHA-256 of a range of a file, or of less if the file ends before the range does. `None`
    /// if the server cannot compute it: ours can, and so can another one that can run `sh`, `tail`, `head`
    /// and `sha256sum`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer) if the file cannot be read.
    async fn sha256(&self, path: &str, range: Range<u64>) -> Result<Option<[u8; 32]>>;

    /// Reads a file into `to`, and flushes it. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer), also if fewer bytes arrived than the file has.
    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64>;

    /// Returns information about a path. Symbolic links are followed if `follow` is set.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo>;

    /// Lists the entries of a directory, without `.` and `..`, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer), also for an entry with a dangerous name.
    async fn list(&self, path: &str) -> Result<Vec<FileInfo>>;

    /// Creates a directory. With `parents`, also creates its parents, and accepts an existing directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn create_dir(&self, path: &str, parents: bool) -> Result<()>;

    /// Renames a file, replacing an existing one.
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

    /// Creates a symbolic link at `path` that points to `target`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn symlink(&self, target: &str, path: &str) -> Result<()>;

    /// Reads the target of a symbolic link. It is untrusted, as everything from a sandbox.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn read_link(&self, path: &str) -> Result<String>;

    /// Returns the absolute form of a path. For `.` that is the home directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn canonicalize(&self, path: &str) -> Result<String>;

    /// Opens a stream to a TCP port inside the sandbox (SSH `direct-tcpip`, RFC 4254 §7.2).
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) if nothing listens there.
    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>>;

    /// Starts a job: a command that outlives this client, and writes its output to a capped file.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec); [`Command`](crate::Error::Command) if it cannot be started, and
    /// [`Unsupported`](crate::Error::Unsupported) from an SSH server that is not the SDK's own.
    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()>;

    /// Extends the `ttl` that the sandbox's server enforces to `ttl` from now, in whole seconds. It is never
    /// shortened, and ends at the latest with the `max_lifetime`. Returns the remaining time.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn extend(&self, ttl: Duration) -> Result<Duration>;

    /// Lists the jobs of this sandbox, including those that have ended, oldest first.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn jobs(&self) -> Result<Vec<JobRecord>>;

    /// Attaches to a job: its log arrives as standard output, and its end as the exit. Signals reach the
    /// job. Dropping the process only detaches from it.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job).
    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process>;
}

/// Which part of a job's log to return, and whether to wait for the job.
///
/// ```
/// use sandbox_core::AttachOptions;
///
/// let mut options = AttachOptions::follow();
/// options.offset = 1024; // skip what was read before
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachOptions {
    /// The first byte of the log to return; `u64::MAX` for none.
    pub offset: u64,
    /// Whether to wait until the job has ended. Otherwise the process of a running job ends without an
    /// [`Exited`](crate::ExecEvent::Exited) event.
    pub follow: bool,
}

impl AttachOptions {
    /// Returns the log from its beginning, until the job has ended.
    pub fn follow() -> Self {
        Self {
            offset: 0,
            follow: true,
        }
    }

    /// Waits for the end of the job, without its log.
    pub fn wait() -> Self {
        Self {
            offset: u64::MAX,
            follow: true,
        }
    }

    /// Returns the current content of the log.
    pub fn snapshot() -> Self {
        Self {
            offset: 0,
            follow: false,
        }
    }
}

/// Provides sessions. Implementations pool connections, check the pinned host key, and reconnect.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use sandbox_core::{Access, Deadline, Result, Session, SessionSource};
///
/// async fn connect(source: &dyn SessionSource, access: Access) -> Result<Arc<dyn Session>> {
///     source.session(Arc::new(access), Deadline::from_now(Duration::from_secs(15))).await
/// }
/// ```
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait SessionSource: Debug + Send + Sync + 'static {
    /// Returns a session to the sandbox with at least one authenticated connection: this is what *ready*
    /// means. If the server does not listen yet, retries until the deadline.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) with the stage that failed.
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>>;

    /// Closes all connections to this instance, and ends everything that runs over them.
    async fn evict(&self, uid: &Uid);

    /// Waits until everything that dropped futures left inside sandboxes, such as half-written files, is
    /// removed. The default does nothing.
    async fn settle(&self) {}
}
