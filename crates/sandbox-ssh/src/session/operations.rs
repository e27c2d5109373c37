//! What a session does over its connections: files, commands, streams, jobs.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sandbox_core::protocol::{self, JobRecord};
use sandbox_core::{
    AttachOptions, ByteStream, ClaimRequest, ConnectionStage, Deadline, Direction, DownloadRequest,
    Error, ExecRequest, FileInfo, FilePath, FileSystem, GuestChannel, JobId, ListBudget, Output,
    PortListener, PortProbe, Process, Reader, Result, Session, TreeChannel, UploadRequest, Writer,
    metrics,
};
use tokio::io::AsyncWriteExt;

use super::SshSession;
use crate::channel::ChannelIo;
use crate::claim;
use crate::connection::Opening;
use crate::exec::{self, StartRequest};
use crate::files::{self, FileOps, Uploaded};
use crate::guest;
use crate::jobs;
use crate::listen;
use crate::sftp::local_error;
use crate::trees;

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

    async fn probe_port(&self, host: &str, port: u16, silence: Duration) -> Result<PortProbe> {
        let timeouts = self.0.timeouts;
        if self.0.streams.is_exhausted() {
            return Err(too_many_streams_error(self.0.max_streams));
        }
        let deadline = Deadline::from_now(timeouts.checkout);
        self.0
            .streams
            .probe_port((host, port), silence, timeouts.channel, deadline)
            .await
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
        let (listener, listening) =
            listen::listen(&self.0.listening, port.unwrap_or(0), deadline).await?;
        let mut listeners = self.0.listeners();
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(&listening));
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
