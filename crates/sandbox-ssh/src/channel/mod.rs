//! Channels: opened on a connection of the pool, and closed whatever happens.

mod open_channel;
mod prewarm;
mod probe;
mod stream;
mod subsystem;

use std::sync::Arc;
use std::time::Duration;

use russh::ChannelOpenFailure;
use sandbox_core::{ConnectionStage, Deadline, Error, Result, SandboxId};
use tokio::sync::oneshot;

pub(crate) use open_channel::OpenChannel;
pub(crate) use stream::{ChannelIo, Chunks};
pub(crate) use subsystem::{Subsystem, SubsystemChannels, SubsystemStream};

use crate::connection::{Connection, OpenError, Opening};
use crate::options::SshOptions;
use crate::pool::{PoolStatus, SlotInUse, SlotPool};
use prewarm::Prewarmer;

/// The first and the longest pause between two attempts after a refusal.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Consecutive refusals by a server that has no channel open, after which it is believed.
const MAX_REFUSALS: u32 = 25;
/// Consecutive lost connections, after which the sandbox is believed to have ended.
const MAX_LOSSES: u32 = 3;

/// Opens channels on the connections of one purpose to one sandbox. All clones are one.
#[derive(Clone)]
pub(crate) struct ChannelPool {
    slots: SlotPool,
    prewarmer: Prewarmer,
}

impl ChannelPool {
    /// Prewarms channels where a round trip takes at least `prewarm_latency`; never if `None`.
    pub(crate) fn new(slots: SlotPool, prewarm_latency: Option<Duration>) -> Self {
        Self {
            slots,
            prewarmer: Prewarmer::new(prewarm_latency),
        }
    }

    /// Opens a channel. Dropping the future closes the channel if the server opens it later.
    ///
    /// If a connection turns out to be dead or full, the channel is opened on another one:
    /// nothing was sent yet.
    pub(crate) async fn open(
        &self,
        opening: &Opening,
        timeout: Duration,
        deadline: Deadline,
    ) -> Result<OpenChannel> {
        if let Opening::Session = opening
            && let Some(channel) = self.prewarmer.take().await
        {
            self.prewarmer.prewarm_after(&channel, &self.slots);
            return Ok(channel);
        }
        let give_up = Deadline::from_now(timeout);
        let mut pause = RETRY_PAUSE.0;
        let mut refusals = 0;
        let mut losses = 0;
        loop {
            let slot = self.slots.checkout(deadline).await?;
            let (conn, opened) = open_in_task(slot, opening.clone(), timeout).await?;
            let refusal = match (opened, opening) {
                (Ok(channel), Opening::Session) => {
                    self.prewarmer.prewarm_after(&channel, &self.slots);
                    return Ok(channel);
                }
                (Ok(channel), Opening::Tcp { .. } | Opening::Unix { .. }) => return Ok(channel),
                (Err((slot, OpenError::Refused(reason))), Opening::Session) => {
                    self.slots.lower_after_refusal(&slot);
                    reason
                }
                (Err((_, OpenError::Refused(reason))), Opening::Tcp { host, port }) => {
                    return Err(refused_error(
                        &reason,
                        &format!("{host}:{port}"),
                        "AllowTcpForwarding",
                    ));
                }
                (Err((_, OpenError::Refused(reason))), Opening::Unix { path }) => {
                    return Err(refused_error(&reason, path, "AllowStreamLocalForwarding"));
                }
                (Err((_, OpenError::Lost)), _) => {
                    losses += 1;
                    if losses >= MAX_LOSSES {
                        return Err(connection_lost_error(&conn));
                    }
                    continue;
                }
            };
            // A refusal is normal while other channels are open: the limit is reached then.
            refusals = if conn.state.allowed_channels() == 0 {
                refusals + 1
            } else {
                0
            };
            if refusals >= MAX_REFUSALS || give_up.has_passed() {
                return Err(Error::connection(
                    ConnectionStage::Channel,
                    format!(
                        "the server refuses sessions ({refusal:?}); its MaxSessions may be too low"
                    ),
                    None,
                ));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_PAUSE.1);
        }
    }

    /// Makes sure that there is a live connection, trying until the deadline.
    pub(crate) async fn ensure(&self, deadline: Deadline) -> Result<()> {
        self.slots.ensure(deadline).await
    }

    /// Whether a caller would wait for another to close a channel.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.slots.is_exhausted()
    }

    /// Whether the server is sandbox-sshd; `None` without a connection.
    pub(crate) fn is_sandbox_sshd(&self) -> Option<bool> {
        self.slots.is_sandbox_sshd()
    }

    /// Closes connections that are too old, dead or idle.
    pub(crate) fn reap(&self, options: &SshOptions) {
        self.slots.reap(options);
    }

    /// Ends every connection, and everything that runs over them.
    pub(crate) fn close(&self) {
        self.slots.close();
    }

    /// The sandbox's id, for messages.
    pub(crate) fn sandbox(&self) -> SandboxId {
        self.slots.sandbox()
    }

    pub(crate) fn status(&self) -> PoolStatus {
        PoolStatus {
            prewarmed: self.prewarmer.count(),
            ..self.slots.status()
        }
    }
}

impl std::fmt::Debug for ChannelPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChannelPool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

type Opened = std::result::Result<OpenChannel, (SlotInUse, OpenError)>;

/// Opens a channel in a task of its own. The task closes the channel if the caller has stopped
/// waiting by the time the server answers.
async fn open_in_task(
    slot: SlotInUse,
    opening: Opening,
    timeout: Duration,
) -> Result<(Arc<Connection>, Opened)> {
    let conn = Arc::clone(slot.conn());
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        // Dropping an open channel closes it.
        drop(done.send(OpenChannel::open(slot, &opening).await));
    });
    match tokio::time::timeout(timeout, result).await {
        Ok(Ok(opened)) => Ok((conn, opened)),
        Ok(Err(_ended)) => Err(connection_lost_error(&conn)),
        Err(_elapsed) => {
            // The connection is not killed: it may still serve its other channels well.
            conn.retire();
            let message =
                format!("the server did not answer within {timeout:?} when a channel was opened");
            Err(Error::connection(ConnectionStage::Channel, message, None))
        }
    }
}

fn connection_lost_error(conn: &Connection) -> Error {
    let message = match conn.state.end_reason() {
        Some(why) => format!("the connection was lost: {why}"),
        None => "the connection was lost".to_owned(),
    };
    Error::connection(ConnectionStage::Channel, message, None)
}

/// What a refusal of a connection to `target` means; `option` of the server's configuration allows them.
fn refused_error(reason: &ChannelOpenFailure, target: &str, option: &str) -> Error {
    let message = match reason {
        ChannelOpenFailure::AdministrativelyProhibited => {
            format!("the server does not allow connections to {target} ({option})")
        }
        ChannelOpenFailure::ResourceShortage => {
            format!("the server has no room for a connection to {target}; close others first")
        }
        _ => format!("nothing answers at {target} inside it"),
    };
    Error::refused_channel(message)
}
