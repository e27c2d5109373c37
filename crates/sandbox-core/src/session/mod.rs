//! The data plane: operations inside a sandbox.

mod capped;
mod claim;
mod control;
mod exec;
mod file;
mod file_system;
mod guest_channel;
mod incoming_frames;
mod list_budget;
mod listener;
#[cfg(feature = "mock")]
mod mock;
mod notice;
mod output;
mod part_reader;
mod port_probe;
mod process;
mod signal;
mod tree_channel;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::protocol::JobRecord;
use crate::{Access, ByteStream, Deadline, Direction, Error, JobId, Result, Uid};

pub use claim::ClaimRequest;
pub use control::{ControlMessage, ProcessControl};
pub use exec::{Env, ExecRequest, Program, Pty, PtySize};
pub use file::{
    DownloadRequest, FileInfo, FileKind, TargetPolicy, UploadRequest, partial_name, temporary_name,
};
pub use file_system::FileSystem;
pub use guest_channel::{GuestChannel, GuestFrame};
pub use list_budget::ListBudget;
pub use listener::{Accept, PortListener};
#[cfg(feature = "mock")]
pub use mock::MockSession;
pub use notice::Notice;
pub use output::{ExitStatus, Output, OutputCollector};
pub use port_probe::PortProbe;
pub use process::{ExecEvent, Process, ProcessDriver, ProcessStdin};
pub use signal::Signal;
pub use tree_channel::TreeChannel;

/// The source of an upload.
pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// The target of a download.
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Commands and files in one sandbox.
///
/// A session represents the sandbox's whole pool of connections, so many tasks may use it at once.
/// Every future may be dropped at any point. The operation is then cancelled as its method
/// documents, and no channel or file stays behind.
///
/// An implementation needs the methods without a default, and those of [`FileSystem`].
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
#[async_trait]
pub trait Session: FileSystem {
    /// Starts a command whose output the caller reads at its own pace.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection), or [`Invalid`](crate::Error::Invalid) for a
    /// command that cannot be sent. A command that may have started is never sent again.
    async fn exec(&self, request: ExecRequest) -> Result<Process>;

    /// Writes a file, which appears under its name when it is complete. Dropping the future leaves
    /// an existing file unchanged. A device or FIFO gets the bytes as they arrive; see
    /// [`TargetPolicy`]. Returns the number of bytes.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer); nothing of the new file is then left behind, except
    /// the partial file of a resumable upload.
    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64>;

    /// Reads a file into `to`, as long as it was when it was opened, and flushes it. Returns the
    /// number of bytes.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer), also if fewer bytes arrived than the file had.
    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64>;

    /// Opens a stream to a TCP port inside the sandbox (SSH `direct-tcpip`, RFC 4254 §7.2). If it is
    /// dropped before it is shut down, the connection inside is reset.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) if nothing listens there.
    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>>;

    /// Tries to connect from inside the sandbox to a TCP port, and closes the connection at once. `silence` counts from the
    /// moment at which the sandbox's server is known to be trying, so that a slow way to the server is not mistaken for it.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) if the server does not try, or is lost meanwhile: nothing is known then. The
    /// default always returns [`Unsupported`](crate::Error::Unsupported).
    async fn probe_port(&self, host: &str, port: u16, silence: Duration) -> Result<PortProbe> {
        let _unused = (host, port, silence);
        Err(Error::unsupported(
            "probing a port",
            "this session",
            "connect to it (open_stream)",
        ))
    }

    /// Opens a stream to a Unix socket inside the sandbox (`direct-streamlocal@openssh.com`, section 2.4
    /// of [OpenSSH's PROTOCOL](https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL?annotate=HEAD)). With
    /// sandbox-sshd a relative path starts at the home directory. As a Unix socket has no reset, dropping the
    /// stream only ends it.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) if nothing listens there, or the server does not allow it;
    /// the default always returns [`Unsupported`](crate::Error::Unsupported).
    async fn open_unix_stream(&self, path: &str) -> Result<Box<dyn ByteStream>> {
        let _unused = path;
        Err(Error::unsupported(
            "connecting to a Unix socket",
            "this session",
            "let the program inside listen on a TCP port",
        ))
    }

    /// Listens on a TCP port of the loopback interface inside the sandbox, whose connections are served here (SSH
    /// `tcpip-forward`, RFC 4254 §7.1); `None` lets the server choose the port. The listener has a connection of its own.
    /// It ends with the listener or with this process, and then nothing inside is served any more.
    ///
    /// sandbox-sshd has one such port for the whole sandbox, which one client serves at a time. The port stays the same for
    /// all clients, and no program inside can take it once it was bound.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) if the server refuses it; the default always returns
    /// [`Unsupported`](crate::Error::Unsupported).
    async fn listen(&self, port: Option<u16>) -> Result<PortListener> {
        let _unused = port;
        Err(Error::unsupported(
            "serving a port inside",
            "this session",
            "let a program inside listen, and connect to it",
        ))
    }

    /// Starts a job: a command that outlives this client, and whose output is written to a capped
    /// log.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec); [`Command`](crate::Error::Command) if it cannot be started, and
    /// [`Unsupported`](crate::Error::Unsupported) from an SSH server other than sandbox-sshd.
    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()>;

    /// Attaches to a job: its log arrives as standard output, and its end as the exit. Signals
    /// reach the job. Dropping the process only detaches from it.
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec), [`Refused`](crate::Error::Refused) with
    /// [`NotFound`](crate::guest::RefusalCode::NotFound) if there is no such job, and
    /// [`Unsupported`](crate::Error::Unsupported) from an SSH server other than sandbox-sshd. Each may be what the process
    /// ends with.
    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process>;

    /// Runs a command to its end and collects its output, at most `cap` bytes of each stream.
    /// Dropping the future ends the command. The default uses [`exec`](Self::exec).
    ///
    /// # Errors
    ///
    /// As [`exec`](Self::exec), and [`Command`](crate::Error::Command) if it timed out or its end
    /// is unknown. A non-zero exit code is not an error.
    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output> {
        self.exec(request).await?.output(cap).await
    }

    /// Lists the jobs of this sandbox, including those that have ended, oldest first.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job); the default always returns
    /// [`Unsupported`](crate::Error::Unsupported).
    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        Err(Error::unsupported(
            "listing jobs",
            "this session",
            "remember the ids of the jobs that you start",
        ))
    }

    /// Extends the `ttl` that the sandbox's server enforces to `ttl` from now, in whole seconds. It
    /// is never shortened, and ends at the latest with the `max_lifetime`. Returns the
    /// remaining time.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job); the default always returns
    /// [`Unsupported`](crate::Error::Unsupported).
    async fn extend(&self, ttl: Duration) -> Result<Duration> {
        let _unused = ttl;
        Err(Error::unsupported(
            "extending the ttl",
            "this session",
            "create the sandbox with a longer ttl",
        ))
    }

    /// Ends the sandbox this long from now, in whole seconds, and at the latest with the
    /// `max_lifetime`: its server then enforces a `ttl` that it did not have before. Returns the
    /// remaining time.
    ///
    /// # Errors
    ///
    /// As [`extend`](Self::extend).
    async fn start_ttl(&self, ttl: Duration) -> Result<Duration> {
        let _unused = ttl;
        Err(Error::unsupported(
            "starting a ttl",
            "this session",
            "create the sandbox with the ttl",
        ))
    }

    /// Takes over a sandbox that was created for a shared pool: its server accepts only the new key from
    /// now on, and ends every connection but the one that sent this request. The server does this once:
    /// returns `false` if another client was faster. Whether a cancelled request was carried out is unknown, so
    /// the caller then deletes the sandbox.
    ///
    /// # Errors
    ///
    /// As [`start_job`](Self::start_job), and [`Unsupported`](crate::Error::Unsupported) if the sandbox was
    /// not created for a pool; the default always returns it.
    async fn claim(&self, request: ClaimRequest) -> Result<bool> {
        drop(request);
        Err(Error::unsupported(
            "claiming a sandbox",
            "this session",
            "create a sandbox without a pool",
        ))
    }

    /// Opens a channel over which a directory tree is copied in this direction, as
    /// [`tree_stream`](crate::tree_stream) describes. Dropping the channel ends the copy.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection), and [`Unsupported`](crate::Error::Unsupported) from
    /// an SSH server other than sandbox-sshd, of a version that has no such channel, or if too many
    /// are open: the tree can then be copied file by file. The default always returns that.
    async fn open_tree(&self, direction: Direction) -> Result<TreeChannel> {
        let _unused = direction;
        Err(Error::unsupported(
            "copying a tree as one stream",
            "this session",
            "copy its files one by one",
        ))
    }

    /// Opens a channel for one operation of the [guest protocol](crate::guest). Dropping the channel
    /// cancels the operation.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection), and [`Unsupported`](crate::Error::Unsupported) from
    /// an SSH server other than sandbox-sshd. One of a version that has no such channel may be known only
    /// from its answer: then the channel's operations return `Unsupported`. The default always returns that.
    async fn open_guest(&self) -> Result<GuestChannel> {
        Err(Error::unsupported(
            "shared processes, watches and pauses",
            "this session",
            "use a sandbox whose server is sandbox-sshd",
        ))
    }
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
    /// Whether to wait until the job has ended. Otherwise the process of a running job ends
    /// without an [`Exited`](crate::ExecEvent::Exited) event.
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
    /// Returns a session to the sandbox with at least one authenticated connection: this is what
    /// *ready* means. If the server does not listen yet, retries until the deadline.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) with the stage that failed.
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>>;

    /// Closes all connections to this instance, and ends everything that runs over them.
    async fn evict(&self, uid: &Uid);

    /// Waits until everything that dropped futures left inside sandboxes, such as half-written
    /// files, is removed. The default does nothing.
    async fn settle(&self) {}
}
