//! The SFTP sessions of a sandbox, which are opened when needed and replaced when broken.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sandbox_core::{ConnectionStage, Deadline, Error, Result};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::error::server_cause;
use super::outgoing::Outgoing;
use super::session::Sftp;
use crate::channel::{ChannelIo, ChannelPool};
use crate::connection::Opening;

/// The most sessions of a sandbox, each on a connection of its own.
pub(crate) const MAX_SESSIONS: usize = 4;

/// Hands out the SFTP sessions of a sandbox. All clones are one.
#[derive(Clone)]
pub(crate) struct SftpPool(Arc<Inner>);

struct Inner {
    channels: ChannelPool,
    /// All transfers use the first; large files use the others as well.
    sessions: [SessionCell; MAX_SESSIONS],
    timeouts: SftpTimeouts,
    /// Tasks that clean up after dropped transfers.
    cleanups: TaskTracker,
}

/// Holds at most one session.
#[derive(Default)]
struct SessionCell {
    connecting: tokio::sync::Mutex<()>,
    current: Mutex<Option<Used>>,
}

/// How long the parts of a session may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SftpTimeouts {
    pub(crate) checkout: Duration,
    pub(crate) channel: Duration,
    /// Without any part of a response.
    pub(crate) request: Duration,
}

struct Used {
    sftp: Arc<Sftp>,
    last_used: Instant,
}

impl SftpPool {
    pub(crate) fn new(channels: ChannelPool, timeouts: SftpTimeouts) -> Self {
        let cleanups = TaskTracker::new();
        // A closed tracker still accepts tasks; only a closed one can be waited for.
        cleanups.close();
        Self(Arc::new(Inner {
            channels,
            sessions: Default::default(),
            timeouts,
            cleanups,
        }))
    }

    /// A pool that has a session already.
    #[cfg(test)]
    pub(crate) fn with_session(channels: ChannelPool, timeouts: SftpTimeouts, sftp: Sftp) -> Self {
        let pool = Self::new(channels, timeouts);
        *pool.0.sessions[0].lock() = Some(Used {
            sftp: Arc::new(sftp),
            last_used: Instant::now(),
        });
        pool
    }

    pub(crate) fn channels(&self) -> &ChannelPool {
        &self.0.channels
    }

    /// The session that all transfers use; a new one if there is none, or only a broken one.
    pub(crate) async fn session(&self) -> Result<Arc<Sftp>> {
        self.session_at(0).await
    }

    /// The session of this index, which is below [`MAX_SESSIONS`].
    pub(crate) async fn session_at(&self, index: usize) -> Result<Arc<Sftp>> {
        let cell = &self.0.sessions[index];
        if let Some(sftp) = cell.get() {
            return Ok(sftp);
        }
        let _one_at_a_time = cell.connecting.lock().await;
        if let Some(sftp) = cell.get() {
            return Ok(sftp);
        }
        let sftp = Arc::new(self.connect().await?);
        *cell.lock() = Some(Used {
            sftp: Arc::clone(&sftp),
            last_used: Instant::now(),
        });
        Ok(sftp)
    }

    /// Runs the cleanup of a dropped transfer.
    pub(crate) fn spawn_cleanup(
        &self,
        runtime: &Handle,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        self.0.cleanups.spawn_on(work, runtime);
    }

    /// Waits until all dropped transfers are cleaned up.
    pub(crate) async fn settle(&self) {
        self.0.cleanups.wait().await;
    }

    /// Drops sessions that are idle or broken.
    pub(crate) fn reap(&self, idle: Duration) {
        for cell in &self.0.sessions {
            let mut current = cell.lock();
            let old = current.take_if(|used| {
                !used.sftp.is_usable()
                    || Arc::strong_count(&used.sftp) == 1 && used.last_used.elapsed() > idle
            });
            drop(current);
            drop(old);
        }
    }

    /// Ends the sessions with their connections.
    pub(crate) fn close(&self) {
        self.0.channels.close();
        for cell in &self.0.sessions {
            drop(cell.lock().take());
        }
    }

    async fn connect(&self) -> Result<Sftp> {
        let deadline = Deadline::from_now(self.0.timeouts.checkout);
        let timeout = self.0.timeouts.channel;
        let opening = self.0.channels.open(&Opening::Session, timeout, deadline);
        let mut channel = opening.await?;
        let kill_switch = channel.conn().kill_switch().clone();
        let server = channel.conn().server();
        let started = tokio::time::timeout(timeout, channel.start_subsystem("sftp")).await;
        if !started.map_err(|_elapsed| no_answer_error())?? {
            return Err(no_sftp_error(&server));
        }
        let outgoing = Outgoing::new(Arc::clone(&channel.write), kill_switch.clone());
        let incoming = ChannelIo::new(channel);
        let begin = Sftp::begin(incoming, outgoing, self.0.timeouts.request);
        match tokio::time::timeout(timeout, begin)
            .await
            .map_err(|_elapsed| no_answer_error())?
        {
            Ok(sftp) => Ok(sftp),
            Err(source) if kill_switch.is_dead() => Err(Error::connection(
                ConnectionStage::Channel,
                "the connection was lost",
                server_cause(source),
            )),
            // The server has accepted the subsystem, but its helper program does not run.
            Err(_) => Err(no_sftp_error(&server)),
        }
    }
}

impl SessionCell {
    /// The session, unless it is broken.
    fn get(&self) -> Option<Arc<Sftp>> {
        let mut current = self.lock();
        let used = current.as_mut().filter(|used| used.sftp.is_usable())?;
        used.last_used = Instant::now();
        Some(Arc::clone(&used.sftp))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Used>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_answer_error() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "the server did not answer the request for SFTP",
        None,
    )
}

fn no_sftp_error(server: &str) -> Error {
    Error::unsupported_because(
        "file transfers",
        format!("the server ({server})"),
        "it has no SFTP subsystem",
        "add an sftp-server to the image (openssh-sftp-server), or use sandbox-sshd in the sandbox",
    )
}

impl std::fmt::Debug for SftpPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SftpPool")
            .field("channels", &self.0.channels)
            .finish_non_exhaustive()
    }
}
