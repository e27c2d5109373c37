//! The one SFTP session of a sandbox, made when it is needed and made again when it died.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::ChannelMsg;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::client::{Config, RawSftpSession};
use sandbox_core::{ConnectionStage, Deadline, Direction, Error, Result};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::failure::failed;
use crate::channel::{self, OpenChannel};
use crate::connection::Opening;
use crate::pool::SlotPool;
use crate::stream::ChannelIo;
use crate::transport::Life;

/// Files open at once: russh-sftp mistakes OpenSSH's 129th.
const HANDLES: usize = 64;
/// What every server can read or write at once.
const BASE_LEN: u32 = 32 << 10;
/// The most that OpenSSH reads at once; our packets are no larger.
const MAX_READ: u64 = 261_120;
const MAX_PACKET: u32 = 256 << 10;

/// An SFTP session on a connection of its own.
pub(crate) struct Sftp {
    pub(super) raw: RawSftpSession,
    pub(super) handles: Arc<Semaphore>,
    /// Bytes to read with one request.
    pub(super) read_len: u32,
    pub(super) posix_rename: bool,
    pub(super) statvfs: bool,
    life: Life,
    /// It answers no more.
    ended: CancellationToken,
}

/// Hands out the session.
pub(crate) struct Hub {
    pool: SlotPool,
    making: tokio::sync::Mutex<()>,
    current: Mutex<Option<Used>>,
    limits: HubLimits,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct HubLimits {
    pub(crate) checkout: Duration,
    pub(crate) channel: Duration,
    pub(crate) request: Duration,
}

struct Used {
    sftp: Arc<Sftp>,
    at: Instant,
}

impl Sftp {
    /// A refusal or failure of the server, in the words of this SDK. When the server does
    /// not answer as it should, the next caller gets another session.
    pub(super) fn failed(&self, direction: Direction, path: &str, error: SftpError) -> Error {
        if !matches!(error, SftpError::Status(_) | SftpError::Limited(_)) {
            self.ended.cancel();
        }
        failed(direction, path, error)
    }

    fn is_usable(&self) -> bool {
        !self.life.is_dead() && !self.ended.is_cancelled()
    }
}

impl Hub {
    pub(crate) fn new(pool: SlotPool, limits: HubLimits) -> Self {
        Self { pool, making: tokio::sync::Mutex::default(), current: Mutex::default(), limits }
    }

    pub(crate) fn pool(&self) -> &SlotPool {
        &self.pool
    }

    /// The session; a new one when there is none that lives.
    pub(crate) async fn session(&self) -> Result<Arc<Sftp>> {
        if let Some(sftp) = self.usable() {
            return Ok(sftp);
        }
        let _one_at_a_time = self.making.lock().await;
        if let Some(sftp) = self.usable() {
            return Ok(sftp);
        }
        let sftp = Arc::new(self.connect().await?);
        *self.current() = Some(Used { sftp: Arc::clone(&sftp), at: Instant::now() });
        Ok(sftp)
    }

    /// Lets go of a session that nobody has used for long, or that is broken.
    pub(crate) fn reap(&self, idle: Duration) {
        let mut current = self.current();
        let old = current.take_if(|used| {
            !used.sftp.is_usable() || Arc::strong_count(&used.sftp) == 1 && used.at.elapsed() > idle
        });
        drop(current);
        drop(old);
    }

    /// Ends the session with its connection.
    pub(crate) fn close(&self) {
        self.pool.close();
        drop(self.current().take());
    }

    fn usable(&self) -> Option<Arc<Sftp>> {
        let mut current = self.current();
        let used = current.as_mut().filter(|used| used.sftp.is_usable())?;
        used.at = Instant::now();
        Some(Arc::clone(&used.sftp))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Used>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Sftp> {
        let deadline = Deadline::after(self.limits.checkout);
        let mut channel = channel::open(&self.pool, &Opening::Session, self.limits.channel, deadline).await?;
        let life = channel.conn().life().clone();
        let server = channel.conn().server();
        let begun = tokio::time::timeout(self.limits.channel, begin(&mut channel)).await;
        if !begun.map_err(|_elapsed| silent())?? {
            return Err(no_sftp(&server));
        }
        let request = self.limits.request.as_secs().max(1);
        let config =
            Config { max_packet_len: MAX_PACKET, request_timeout_secs: request, ..Config::default() };
        let ended = CancellationToken::new();
        let raw = RawSftpSession::new_with_config(ChannelIo::new(channel).telling(&ended), config);
        let version = raw.init().await.map_err(|source| match life.is_dead() {
            true => {
                Error::connection(ConnectionStage::Channel, "the connection was lost", Some(source.into()))
            }
            // The server promised and its helper program does not run.
            false => no_sftp(&server),
        })?;
        let has = |name: &str| version.extensions.contains_key(name);
        let read_len = match has("limits@openssh.com") {
            true => match raw.limits().await {
                Ok(limits) if limits.max_read_len > 0 => {
                    u32::try_from(limits.max_read_len.min(MAX_READ)).unwrap_or(BASE_LEN)
                }
                _ => BASE_LEN,
            },
            false => BASE_LEN,
        };
        Ok(Sftp {
            raw,
            handles: Arc::new(Semaphore::new(HANDLES)),
            read_len: read_len.max(1),
            posix_rename: has("posix-rename@openssh.com"),
            statvfs: has("statvfs@openssh.com"),
            life,
            ended,
        })
    }
}

/// Starts the subsystem; whether the server has it.
async fn begin(channel: &mut OpenChannel) -> Result<bool> {
    channel.write.request_subsystem(true, "sftp").await.map_err(|source| {
        Error::connection(ConnectionStage::Channel, "the connection was lost", Some(source.into()))
    })?;
    loop {
        match channel.read.wait().await {
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure | ChannelMsg::Close) => return Ok(false),
            Some(_) => {}
            None => return Err(Error::connection(ConnectionStage::Channel, "the connection was lost", None)),
        }
    }
}

fn silent() -> Error {
    Error::connection(ConnectionStage::Channel, "the server did not answer the request for SFTP", None)
}

fn no_sftp(server: &str) -> Error {
    Error::unsupported(
        "moving files",
        format!("the server ({server}), which has no SFTP,"),
        "add an sftp-server to the image (openssh-sftp-server), or use sandbox-sshd in the sandbox",
    )
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("pool", &self.pool).finish_non_exhaustive()
    }
}
