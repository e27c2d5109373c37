//! The session of one sandbox, and the pools of connections under it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox_core::protocol::{self, JobRecord};
use sandbox_core::{
    Access, AttachOptions, ByteStream, ClaimRequest, ConnectionStage, Connector, Deadline,
    Direction, DownloadRequest, Error, ExecRequest, FileInfo, FilePath, FileSystem, GuestChannel,
    JobId, ListBudget, Output, PortListener, Process, Reader, Result, Session, TreeChannel,
    UploadRequest, Writer, metrics,
};
use tokio::io::AsyncWriteExt;

use crate::channel::{ChannelIo, ChannelPool};
use crate::claim;
use crate::connection::{Connection, Opening, Purpose};
use crate::exec::{self, StartRequest, Timeouts};
use crate::files::{self, FileOps, Uploaded};
use crate::guest::{self, GuestChannels, OPERATIONS_PER_CONNECTION};
use crate::jobs;
use crate::listen;
use crate::options::SshOptions;
use crate::pool::{Bounds, Dialer, PoolStatus, SlotPool};
use crate::sftp::{self, SftpPool, SftpTimeouts, local_error};
use crate::trees::{self, MAX_TREES, TreeChannels};

/// All connections to one instance of a sandbox.
pub(crate) struct Instance {
    dialer: Dialer,
    /// Shared by commands whose output is read as it arrives.
    commands: ChannelPool,
    /// One connection for each stream that is read at its caller's pace.
    streams: ChannelPool,
    max_streams: usize,
    files: SftpPool,
    trees: TreeChannels,
    guest: GuestChannels,
    /// Dials connections that serve ports inside.
    listening: Dialer,
    listeners: Mutex<Vec<Weak<Connection>>>,
    timeouts: Timeouts,
}

impl Instance {
    pub(crate) fn new(
        connector: Arc<dyn Connector>,
        access: Arc<Access>,
        options: &SshOptions,
    ) -> Result<Self> {
        let dialer = Dialer::new(connector, access, options, Purpose::Commands);
        let bounds = Bounds {
            channels_per_connection: options.channels_per_connection,
            connections: options.connections,
            max_connections: options.max_connections,
            handshakes: 1,
        };
        let commands = SlotPool::new(dialer.clone(), bounds, None)?;
        let streams = SlotPool::new(
            dialer.clone(),
            Bounds {
                channels_per_connection: 1,
                connections: options.max_streams,
                max_connections: options.max_streams,
                handshakes: 4,
            },
            Some(&commands),
        )?;
        let file_connections = SlotPool::new(
            dialer.with_purpose(options, Purpose::Files),
            Bounds {
                channels_per_connection: 1,
                connections: sftp::MAX_SESSIONS,
                max_connections: sftp::MAX_SESSIONS,
                handshakes: sftp::MAX_SESSIONS,
            },
            None,
        )?;
        let tree_connections = SlotPool::new(
            dialer.with_purpose(options, Purpose::Files),
            Bounds {
                channels_per_connection: 1,
                connections: MAX_TREES,
                max_connections: MAX_TREES,
                handshakes: MAX_TREES,
            },
            None,
        )?;
        let guest_connections = SlotPool::new(
            dialer.clone(),
            Bounds {
                channels_per_connection: OPERATIONS_PER_CONNECTION,
                connections: 1,
                max_connections: guest::MAX_CONNECTIONS,
                handshakes: 4,
            },
            Some(&commands),
        )?;
        let file_timeouts = SftpTimeouts {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
            request: options.file_timeout,
        };
        let files = SftpPool::new(ChannelPool::new(file_connections, None), file_timeouts);
        let trees = TreeChannels::new(ChannelPool::new(tree_connections, None), file_timeouts);
        let timeouts = Timeouts {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
        };
        Ok(Self {
            listening: dialer.with_purpose(options, Purpose::Listening),
            listeners: Mutex::default(),
            dialer,
            commands: ChannelPool::new(commands, options.prewarm_latency),
            streams: ChannelPool::new(streams, None),
            max_streams: options.max_streams,
            files,
            trees,
            guest: GuestChannels::new(
                ChannelPool::new(guest_connections, options.prewarm_latency),
                timeouts,
            ),
            timeouts,
        })
    }

    /// Makes sure that there is a connection for commands.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.commands.ensure(deadline).await
    }

    /// Uses another endpoint and key from now on.
    pub(crate) fn set_access(&self, access: &Arc<Access>) {
        self.dialer.set_access(access);
    }

    /// Closes idle, old and dead connections.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.files.reap(options.idle_timeout);
        for pool in self.pools() {
            pool.reap(options);
        }
    }

    /// Waits until all dropped transfers are cleaned up.
    pub(crate) async fn settle(&self) {
        self.files.settle().await;
        self.trees.settle().await;
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.files.close();
        self.commands.close();
        self.streams.close();
        self.trees.pool().close();
        self.guest.pool().close();
        for listener in self.listeners().drain(..) {
            if let Some(connection) = listener.upgrade() {
                connection.kill();
            }
        }
    }

    fn listeners(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_connections(&self) -> bool {
        self.pools()
            .iter()
            .any(|pool| pool.status().connections > 0)
    }

    /// The status of the pools for commands, streams and files.
    pub(crate) fn status(&self) -> [PoolStatus; 3] {
        let [commands, mut streams, mut files, trees, guest] =
            self.pools().map(ChannelPool::status);
        streams.connections += guest.connections;
        streams.busy += guest.busy;
        streams.handshakes += guest.handshakes;
        files.connections += trees.connections;
        files.busy += trees.busy;
        files.handshakes += trees.handshakes;
        [commands, streams, files]
    }

    fn pools(&self) -> [&ChannelPool; 5] {
        [
            &self.commands,
            &self.streams,
            self.files.channels(),
            self.trees.pool(),
            self.guest.pool(),
        ]
    }
}

/// A session on the pools of one instance.
pub(crate) struct SshSession(pub(crate) Arc<Instance>);

#[async_trait]
impl FileSystem for SshSession {
    async fn append(&self, path: &FilePath, from: Reader) -> Result<u64> {
        measure(Direction::Upload, files::append(&self.0.files, path, from)).await
    }

    async fn sha256(&self, path: &FilePath, range: Range<u64>) -> Result<Option<[u8; 32]>> {
        if let Some(hash) = files::request_hash(&self.0.files, path, range.clone()).await? {
            return Ok(Some(hash));
        }
        // Another server than sandbox-sshd: hash with a command, if the sandbox has its programs.
        let output = self
            .output(files::hash_command(path, range), files::HASH_OUTPUT_CAP)
            .await?;
        Ok(files::parse_hash(&output))
    }

    async fn stat(&self, path: &FilePath, follow: bool) -> Result<FileInfo> {
        FileOps(&self.0.files).stat(path, follow).await
    }

    async fn list(&self, path: &FilePath) -> Result<Vec<FileInfo>> {
        self.list_within(path, &ListBudget::default()).await
    }

    async fn list_within(&self, path: &FilePath, budget: &ListBudget) -> Result<Vec<FileInfo>> {
        FileOps(&self.0.files).list(path, budget).await
    }

    async fn create_dir(&self, path: &FilePath, parents: bool) -> Result<()> {
        FileOps(&self.0.files).create_dir(path, parents).await
    }

    async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()> {
        FileOps(&self.0.files).rename(from, to).await
    }

    async fn remove_file(&self, path: &FilePath) -> Result<()> {
        FileOps(&self.0.files).remove_file(path).await
    }

    async fn remove_dir(&self, path: &FilePath) -> Result<()> {
        FileOps(&self.0.files).remove_dir(path).await
    }

    async fn set_mode(&self, path: &FilePath, mode: u32) -> Result<()> {
        self.set_attributes(path, Some(mode), None).await
    }

    async fn set_attributes(
        &self,
        path: &FilePath,
        mode: Option<u32>,
        modified: Option<SystemTime>,
    ) -> Result<()> {
        FileOps(&self.0.files)
            .set_attributes(path, mode, modified)
            .await
    }

    async fn symlink(&self, target: &FilePath, path: &FilePath) -> Result<()> {
        FileOps(&self.0.files).symlink(target, path).await
    }

    async fn read_link(&self, path: &FilePath) -> Result<FilePath> {
        FileOps(&self.0.files).read_link(path).await
    }

    async fn canonicalize(&self, path: &FilePath) -> Result<FilePath> {
        FileOps(&self.0.files).canonicalize(path).await
    }
}

#[async_trait]
impl Session for SshSession {
    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        let stdin = request.stdin;
        let request = StartRequest::for_command(request)?;
        exec::stream(&self.0.streams, request, stdin, self.0.timeouts).await
    }

    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output> {
        let request = StartRequest::for_command(request)?;
        self.collect(request, cap).await
    }

    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64> {
        measure(Direction::Upload, async {
            match files::upload(&self.0.files, request, from).await? {
                Uploaded::Stored(size) => Ok(size),
                Uploaded::Special { path, from } => self.write_special(&path, from).await,
            }
        })
        .await
    }

    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64> {
        measure(
            Direction::Download,
            files::download(&self.0.files, request, to),
        )
        .await
    }

    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>> {
        let host = host.to_owned();
        self.open_forwarded(Opening::Tcp { host, port }).await
    }

    async fn open_unix_stream(&self, path: &str) -> Result<Box<dyn ByteStream>> {
        let mut path = path.to_owned();
        // Other servers begin relative paths elsewhere: sshd in its own working directory.
        if !path.starts_with('/') && self.0.commands.is_sandbox_sshd() == Some(false) {
            let home = self.canonicalize(&FilePath::from(".")).await?;
            let absolute = home.join(&path);
            path = absolute.to_str().unwrap_or(&path).to_owned();
        }
        self.open_forwarded(Opening::Unix { path }).await
    }

    async fn listen(&self, port: Option<u16>) -> Result<PortListener> {
        let deadline = Deadline::from_now(self.0.timeouts.checkout);
        let (listener, connection) =
            listen::listen(&self.0.listening, port.unwrap_or(0), deadline).await?;
        let mut listeners = self.0.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&connection));
        Ok(listener)
    }

    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()> {
        let request = StartRequest::for_job(id, request, self.0.timeouts.channel)?;
        jobs::check_started(self.collect(request, jobs::MESSAGE_CAP).await?)
    }

    async fn extend(&self, ttl: Duration) -> Result<Duration> {
        self.set_lifetime(jobs::extend_variables(ttl)).await
    }

    async fn start_ttl(&self, ttl: Duration) -> Result<Duration> {
        self.set_lifetime(jobs::ttl_variables(ttl)).await
    }

    /// Connections that are opened later use the key of the access with which the session is requested
    /// next.
    async fn claim(&self, request: ClaimRequest) -> Result<bool> {
        let timeout = Some(self.0.timeouts.channel);
        let control = claim::claim_variables(&request);
        let request =
            StartRequest::for_subsystem(protocol::CLAIM_SUBSYSTEM, control, timeout, false);
        claim::parse_claimed(self.collect(request, jobs::MESSAGE_CAP).await)
    }

    async fn open_tree(&self, direction: Direction) -> Result<TreeChannel> {
        // Nothing is dialled for it where another server is known to answer.
        if self.0.commands.is_sandbox_sshd() == Some(false) {
            return Err(trees::unsupported_error("it is not sandbox-sshd"));
        }
        self.0.trees.open(direction).await
    }

    async fn open_guest(&self) -> Result<GuestChannel> {
        if self.0.commands.is_sandbox_sshd() == Some(false) {
            return Err(guest::unsupported_error("it is not sandbox-sshd"));
        }
        self.0.guest.open().await
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        let timeout = Some(self.0.timeouts.channel);
        let name = protocol::JOBS_SUBSYSTEM;
        let request = StartRequest::for_subsystem(name, Vec::new(), timeout, true);
        jobs::parse_list(&self.collect(request, jobs::LIST_CAP).await?)
    }

    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process> {
        let control = jobs::attach_variables(id, options);
        let name = protocol::JOB_SUBSYSTEM;
        let request = StartRequest::for_subsystem(name, control, None, !options.follow);
        exec::stream(&self.0.streams, request, false, self.0.timeouts).await
    }
}

impl SshSession {
    /// Opens a channel that is a stream to a port or socket inside.
    async fn open_forwarded(&self, opening: Opening) -> Result<Box<dyn ByteStream>> {
        let timeouts = self.0.timeouts;
        if self.0.streams.is_exhausted() {
            return Err(too_many_streams_error(self.0.max_streams));
        }
        let deadline = Deadline::from_now(timeouts.checkout);
        let opening = self.0.streams.open(&opening, timeouts.channel, deadline);
        let channel = opening.await?;
        Ok(Box::new(ChannelIo::new(channel)))
    }

    async fn set_lifetime(&self, control: Vec<(&'static str, String)>) -> Result<Duration> {
        let timeout = Some(self.0.timeouts.channel);
        let name = protocol::LIFETIME_SUBSYSTEM;
        let request = StartRequest::for_subsystem(name, control, timeout, true);
        jobs::parse_extended(&self.collect(request, jobs::MESSAGE_CAP).await?)
    }

    async fn collect(&self, request: StartRequest, cap: usize) -> Result<Output> {
        exec::collect(&self.0.commands, request, cap, self.0.timeouts).await
    }

    /// Writes to a device or FIFO. Returns the number of bytes.
    async fn write_special(&self, path: &FilePath, mut from: Reader) -> Result<u64> {
        let mut process = self.exec(files::special_command(path)).await?;
        let stdin = process.take_stdin();
        let copying = async {
            let Some(mut stdin) = stdin else {
                return Ok(0);
            };
            let copied = tokio::io::copy(&mut from, &mut stdin).await?;
            stdin.shutdown().await?;
            Ok(copied)
        };
        let ending = process.output(files::SPECIAL_OUTPUT_CAP);
        tokio::pin!(ending);
        // If the command ends first, it failed, and the rest of the content is not needed.
        let (copied, output) = tokio::select! {
            biased;
            copied = copying => (Some(copied), ending.await?),
            output = ending.as_mut() => (None, output?),
        };
        files::check_special_written(path, &output)?;
        match copied {
            Some(copied) => {
                copied.map_err(|error| local_error(Direction::Upload, path, "reading", error))
            }
            None => Ok(0),
        }
    }
}

fn too_many_streams_error(max: usize) -> Error {
    Error::connection(
        ConnectionStage::Channel,
        format!(
            "{max} streams are open, which is the most at once; close some, or raise SshOptions::max_streams"
        ),
        None,
    )
}

/// Measures a transfer.
async fn measure(direction: Direction, transfer: impl Future<Output = Result<u64>>) -> Result<u64> {
    let measured = metrics::start_transfer(direction);
    let moved = transfer.await;
    measured.finish_transfer(&moved);
    moved
}

impl std::fmt::Debug for SshSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshSession")
            .field("status", &self.0.status())
            .finish_non_exhaustive()
    }
}
