//! One sandbox's pools, and what is done with them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::protocol::{self, JobRecord};
use sandbox_core::{
    Access, AttachOptions, ByteStream, Connector, Deadline, Direction, DownloadRequest,
    ExecRequest, FileInfo, FileSystem, JobId, Output, Process, Reader, Result, Session,
    UploadRequest, Writer, metrics,
};

use crate::channel;
use crate::connection::{Opening, Purpose};
use crate::exec::{self, Limits, Run, Start};
use crate::files::{self, Files, Hub};
use crate::jobs;
use crate::options::SshOptions;
use crate::pool::{Bounds, Dialer, PoolStatus, SlotPool};
use crate::stream::ChannelIo;

/// All connections to one instance of a sandbox.
pub(crate) struct Instance {
    dialer: Dialer,
    /// Shared by many commands, whose output is taken as it comes.
    commands: SlotPool,
    /// One connection for each stream that is read at its caller's pace.
    streams: SlotPool,
    hub: Hub,
    limits: Limits,
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
            open_ahead_from: options.open_ahead_from,
        };
        let commands = SlotPool::new(dialer.clone(), bounds, None)?;
        let streams = SlotPool::new(
            dialer.clone(),
            Bounds {
                channels_per_connection: 1,
                connections: options.max_streams,
                max_connections: options.max_streams,
                handshakes: 4,
                open_ahead_from: None,
            },
            Some(&commands),
        )?;
        let bulk = dialer.with_purpose(options, Purpose::Files);
        let most = files::SESSIONS;
        let one = Bounds {
            channels_per_connection: 1,
            connections: most,
            max_connections: most,
            handshakes: most,
            open_ahead_from: None,
        };
        let limits = files::HubLimits {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
            request: options.file_timeout,
        };
        let hub = Hub::new(SlotPool::new(bulk, one, None)?, limits);
        let limits = Limits {
            checkout: options.checkout_timeout,
            channel: options.channel_timeout,
        };
        Ok(Self {
            dialer,
            commands,
            streams,
            hub,
            limits,
        })
    }

    /// Makes sure that there is a connection.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.commands.ensure(deadline).await
    }

    /// Takes note of where the sandbox is now.
    pub(crate) fn moved(&self, access: &Arc<Access>) {
        self.dialer.moved(access);
    }

    /// Closes what is not needed any more.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.hub.reap(options.idle_timeout);
        for pool in self.pools() {
            pool.reap(options);
        }
    }

    /// Waits until nothing is left of dropped transfers.
    pub(crate) async fn settle(&self) {
        self.hub.settle().await;
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.hub.close();
        self.commands.close();
        self.streams.close();
    }

    pub(crate) fn has_connections(&self) -> bool {
        self.pools()
            .iter()
            .any(|pool| pool.status().connections > 0)
    }

    /// Commands, streams, files.
    pub(crate) fn status(&self) -> [PoolStatus; 3] {
        self.pools().map(SlotPool::status)
    }

    fn pools(&self) -> [&SlotPool; 3] {
        [&self.commands, &self.streams, self.hub.pool()]
    }
}

/// A session: the pools of one instance.
pub(crate) struct SshSession(pub(crate) Arc<Instance>);

#[async_trait]
impl FileSystem for SshSession {
    async fn append(&self, path: &str, from: Reader) -> Result<u64> {
        measured(Direction::Upload, files::append(&self.0.hub, path, from)).await
    }

    async fn sha256(&self, path: &str, range: Range<u64>) -> Result<Option<[u8; 32]>> {
        if let Some(told) = files::told_hash(&self.0.hub, path, range.clone()).await? {
            return Ok(Some(told));
        }
        // Another's server: by a command, where it has those that this takes.
        let output = self
            .output(files::hash_command(path, range), files::HASH_OUTPUT)
            .await?;
        Ok(files::read_hash(&output))
    }

    async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo> {
        Files(&self.0.hub).stat(path, follow).await
    }

    async fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        Files(&self.0.hub).list(path).await
    }

    async fn create_dir(&self, path: &str, parents: bool) -> Result<()> {
        Files(&self.0.hub).create_dir(path, parents).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<()> {
        Files(&self.0.hub).rename(from, to).await
    }

    async fn remove_file(&self, path: &str) -> Result<()> {
        Files(&self.0.hub).remove_file(path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<()> {
        Files(&self.0.hub).remove_dir(path).await
    }

    async fn set_mode(&self, path: &str, mode: u32) -> Result<()> {
        Files(&self.0.hub).set_mode(path, mode).await
    }

    async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        Files(&self.0.hub).symlink(target, path).await
    }

    async fn read_link(&self, path: &str) -> Result<String> {
        Files(&self.0.hub).read_link(path).await
    }

    async fn canonicalize(&self, path: &str) -> Result<String> {
        Files(&self.0.hub).canonicalize(path).await
    }
}

#[async_trait]
impl Session for SshSession {
    async fn exec(&self, request: ExecRequest) -> Result<Process> {
        let stdin = request.stdin;
        exec::stream(
            &self.0.streams,
            Run::command(request)?,
            stdin,
            self.0.limits,
        )
        .await
    }

    async fn output(&self, request: ExecRequest, cap: usize) -> Result<Output> {
        exec::collect(&self.0.commands, Run::command(request)?, cap, self.0.limits).await
    }

    async fn upload(&self, request: UploadRequest, from: Reader) -> Result<u64> {
        measured(Direction::Upload, files::upload(&self.0.hub, request, from)).await
    }

    async fn download(&self, request: DownloadRequest, to: Writer) -> Result<u64> {
        measured(
            Direction::Download,
            files::download(&self.0.hub, request, to),
        )
        .await
    }

    async fn open_stream(&self, host: &str, port: u16) -> Result<Box<dyn ByteStream>> {
        let opening = Opening::Tcp {
            host: host.to_owned(),
            port,
        };
        let deadline = Deadline::from_now(self.0.limits.checkout);
        let channel =
            channel::open(&self.0.streams, &opening, self.0.limits.channel, deadline).await?;
        Ok(Box::new(ChannelIo::new(channel)))
    }

    async fn start_job(&self, id: &JobId, request: ExecRequest) -> Result<()> {
        let mut run = Run::job(id, request)?;
        // The server answers once the job runs, however long that goes on.
        run.timeout = Some(self.0.limits.channel);
        jobs::started(exec::collect(&self.0.commands, run, jobs::MESSAGE, self.0.limits).await?)
    }

    async fn extend(&self, ttl: Duration) -> Result<Duration> {
        let start = Start::subsystem(protocol::LIFETIME_SUBSYSTEM, jobs::extend(ttl));
        let run = Run {
            start,
            timeout: Some(self.0.limits.channel),
            may_end_silently: true,
        };
        jobs::extended(&exec::collect(&self.0.commands, run, jobs::MESSAGE, self.0.limits).await?)
    }

    async fn jobs(&self) -> Result<Vec<JobRecord>> {
        let start = Start::subsystem(protocol::JOBS_SUBSYSTEM, Vec::new());
        let run = Run {
            start,
            timeout: Some(self.0.limits.channel),
            may_end_silently: true,
        };
        jobs::listed(&exec::collect(&self.0.commands, run, jobs::LISTING, self.0.limits).await?)
    }

    async fn attach_job(&self, id: &JobId, options: AttachOptions) -> Result<Process> {
        let control = jobs::attach(id, options);
        let start = Start::subsystem(protocol::JOB_SUBSYSTEM, control);
        let run = Run {
            start,
            timeout: None,
            may_end_silently: !options.follow,
        };
        exec::stream(&self.0.streams, run, false, self.0.limits).await
    }
}

/// Moves a file, and measures that.
async fn measured(direction: Direction, moving: impl Future<Output = Result<u64>>) -> Result<u64> {
    let measured = metrics::start_transfer(direction);
    let moved = moving.await;
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
