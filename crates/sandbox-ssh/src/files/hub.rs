//! The SFTP sessions of a sandbox, made when they are needed and made again when they died.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russh::ChannelMsg;
use sandbox_core::{ConnectionStage, Deadline, Error, Result};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::failure::cause;
use super::outgoing::Outgoing;
use super::sftp::{Progress, Sftp};
use crate::channel::{self, OpenChannel};
use crate::connection::Opening;
use crate::pool::SlotPool;
use crate::stream::ChannelIo;

/// Sessions of a sandbox at most, each on a connection of its own.
pub(crate) const SESSIONS: usize = 4;

/// Hands out the sessions. All clones are one.
#[derive(Clone)]
pub(crate) struct Hub(Arc<Inner>);

struct Inner {
    pool: SlotPool,
    /// The first is everybody's; the others are there for large files.
    places: [Place; SESSIONS],
    limits: HubLimits,
    /// What dropped transfers left, which is being removed.
    remains: TaskTracker,
}

#[derive(Default)]
struct Place {
    making: tokio::sync::Mutex<()>,
    current: Mutex<Option<Used>>,
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

impl Hub {
    pub(crate) fn new(pool: SlotPool, limits: HubLimits) -> Self {
        let remains = TaskTracker::new();
        // It takes tasks all the same; only so can it be waited for.
        remains.close();
        Self(Arc::new(Inner {
            pool,
            places: Default::default(),
            limits,
            remains,
        }))
    }

    /// A hub with a session that is there already.
    #[cfg(test)]
    pub(super) fn over(pool: SlotPool, limits: HubLimits, sftp: Sftp) -> Self {
        let hub = Self::new(pool, limits);
        *hub.0.places[0].current() = Some(Used {
            sftp: Arc::new(sftp),
            at: Instant::now(),
        });
        hub
    }

    pub(crate) fn pool(&self) -> &SlotPool {
        &self.0.pool
    }

    /// The session; a new one when there is none that lives.
    pub(crate) async fn session(&self) -> Result<Arc<Sftp>> {
        self.session_at(0).await
    }

    /// One of several sessions, below [`SESSIONS`].
    pub(super) async fn session_at(&self, place: usize) -> Result<Arc<Sftp>> {
        let place = &self.0.places[place];
        if let Some(sftp) = place.usable() {
            return Ok(sftp);
        }
        let _one_at_a_time = place.making.lock().await;
        if let Some(sftp) = place.usable() {
            return Ok(sftp);
        }
        let sftp = Arc::new(self.connect().await?);
        *place.current() = Some(Used {
            sftp: Arc::clone(&sftp),
            at: Instant::now(),
        });
        Ok(sftp)
    }

    /// Removes what a dropped transfer left.
    pub(super) fn undo(&self, runtime: &Handle, work: impl Future<Output = ()> + Send + 'static) {
        self.0.remains.spawn_on(work, runtime);
    }

    /// Waits until there is nothing left of dropped transfers.
    pub(crate) async fn settle(&self) {
        self.0.remains.wait().await;
    }

    /// Lets go of sessions that nobody has used for long, or that are broken.
    pub(crate) fn reap(&self, idle: Duration) {
        for place in &self.0.places {
            let mut current = place.current();
            let old = current.take_if(|used| {
                !used.sftp.is_usable()
                    || Arc::strong_count(&used.sftp) == 1 && used.at.elapsed() > idle
            });
            drop(current);
            drop(old);
        }
    }

    /// Ends the sessions with their connections.
    pub(crate) fn close(&self) {
        self.0.pool.close();
        for place in &self.0.places {
            drop(place.current().take());
        }
    }

    async fn connect(&self) -> Result<Sftp> {
        let deadline = Deadline::from_now(self.0.limits.checkout);
        let mut channel = channel::open(
            &self.0.pool,
            &Opening::Session,
            self.0.limits.channel,
            deadline,
        )
        .await?;
        let life = channel.conn().life().clone();
        let server = channel.conn().server();
        let begun = tokio::time::timeout(self.0.limits.channel, begin(&mut channel)).await;
        if !begun.map_err(|_elapsed| silent())?? {
            return Err(no_sftp(&server));
        }
        let progress = Progress::new();
        let outgoing = Outgoing::new(Arc::clone(&channel.write), life.clone());
        let incoming = ChannelIo::new(channel).noting(&progress);
        let begin = Sftp::begin(incoming, outgoing, progress, self.0.limits.request);
        match tokio::time::timeout(self.0.limits.channel, begin)
            .await
            .map_err(|_elapsed| silent())?
        {
            Ok(sftp) => Ok(sftp),
            Err(source) if life.is_dead() => Err(Error::connection(
                ConnectionStage::Channel,
                "the connection was lost",
                cause(source),
            )),
            // The server promised, and its helper program does not run.
            Err(_) => Err(no_sftp(&server)),
        }
    }
}

impl Place {
    fn usable(&self) -> Option<Arc<Sftp>> {
        let mut current = self.current();
        let used = current.as_mut().filter(|used| used.sftp.is_usable())?;
        used.at = Instant::now();
        Some(Arc::clone(&used.sftp))
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Used>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the subsystem; whether the server has it.
async fn begin(channel: &mut OpenChannel) -> Result<bool> {
    channel
        .write
        .request_subsystem(true, "sftp")
        .await
        .map_err(|source| {
            Error::connection(
                ConnectionStage::Channel,
                "the connection was lost",
                Some(source.into()),
            )
        })?;
    loop {
        match channel.read.wait().await {
            Some(ChannelMsg::Success) => return Ok(true),
            Some(ChannelMsg::Failure | ChannelMsg::Close) => return Ok(false),
            Some(_) => {}
            None => {
                return Err(Error::connection(
                    ConnectionStage::Channel,
                    "the connection was lost",
                    None,
                ));
            }
        }
    }
}

fn silent() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "the server did not answer the request for SFTP",
        None,
    )
}

fn no_sftp(server: &str) -> Error {
    Error::unsupported_because(
        "file transfers",
        format!("the server ({server})"),
        "it has no SFTP subsystem",
        "add an sftp-server to the image (openssh-sftp-server), or use sandbox-sshd in the sandbox",
    )
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("pool", &self.0.pool)
            .finish_non_exhaustive()
    }
}
