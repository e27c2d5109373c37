//! An open channel, which is closed whatever happens.
//!
//! russh sends nothing when a channel is dropped, and a cancelled opening opens all the same.
//! So a channel is opened in a task of its own that also holds its slot, and what is dropped
//! on the way is closed in a task of its own; the slot is free once the close is sent.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf};
use sandbox_core::{ConnectionStage, Deadline, Error, Result};
use tokio::sync::oneshot;

use crate::connection::{Conn, OpenError, Opening};
use crate::pool::{Lease, SlotPool};

/// How long a close may take on a connection that carries nothing else, and a server to
/// answer after it, before the connection is given up.
const CLOSING: Duration = Duration::from_secs(1);
/// Time between two attempts after a refusal.
const RETRY: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// Refusals in a row by a server that has no channel open, before it is believed.
const REFUSALS: u32 = 25;
/// Connections found dead in a row before the sandbox is believed to be gone.
const LOSSES: u32 = 3;

/// An open channel with its slot.
#[derive(Debug)]
pub(crate) struct OpenChannel {
    // Dropped before the guard: russh no longer waits for it to take what the server sent.
    pub(crate) read: ChannelReadHalf,
    pub(crate) write: Arc<ChannelWriteHalf<Msg>>,
    guard: Guard,
}

/// Closes the channel when dropped.
#[derive(Debug)]
struct Guard {
    write: Arc<ChannelWriteHalf<Msg>>,
    conn: Arc<Conn>,
    /// `None` once closed.
    lease: Option<Lease>,
}

/// Opens a channel. Dropping the future closes what it opened.
///
/// When a connection turns out to be dead or full, another is tried: nothing was sent yet.
pub(crate) async fn open(
    pool: &SlotPool,
    opening: &Opening,
    patience: Duration,
    deadline: Deadline,
) -> Result<OpenChannel> {
    if let Opening::Session = opening
        && let Some(channel) = pool.take_ahead().await
    {
        pool.open_ahead(&channel);
        return Ok(channel);
    }
    let give_up = Deadline::from_now(patience);
    let mut pause = RETRY.0;
    let (mut refusals, mut losses) = (0, 0);
    loop {
        let lease = pool.checkout(deadline).await?;
        let (conn, opened) = open_on(lease, opening.clone(), patience).await?;
        let refusal = match (opened, opening) {
            (Ok(channel), Opening::Session) => {
                pool.open_ahead(&channel);
                return Ok(channel);
            }
            (Ok(channel), Opening::Tcp { .. }) => return Ok(channel),
            (Err((lease, OpenError::Refused(reason))), Opening::Session) => {
                pool.refused(&lease);
                reason
            }
            (Err((_, OpenError::Refused(reason))), Opening::Tcp { host, port }) => {
                return Err(not_listening(&reason, host, *port));
            }
            (Err((_, OpenError::Lost)), _) => {
                losses += 1;
                if losses >= LOSSES {
                    return Err(lost(&conn));
                }
                continue;
            }
        };
        refusals = if conn.facts.allowed() == 0 {
            refusals + 1
        } else {
            0
        };
        if refusals >= REFUSALS || give_up.has_passed() {
            return Err(Error::connection(
                ConnectionStage::Channel,
                format!(
                    "the server refuses sessions ({refusal:?}); its MaxSessions may be too low"
                ),
                None,
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

type Opened = std::result::Result<OpenChannel, (Lease, OpenError)>;

/// Opens a channel in a task of its own, so that it is closed should nobody want it any more
/// when the server answers at last.
async fn open_on(
    lease: Lease,
    opening: Opening,
    patience: Duration,
) -> Result<(Arc<Conn>, Opened)> {
    let conn = Arc::clone(lease.conn());
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        let opened = match lease.conn().open(&opening).await {
            Ok(channel) => Ok(OpenChannel::new(channel, lease)),
            Err(error) => Err((lease, error)),
        };
        // Dropping an open channel closes it.
        drop(done.send(opened));
    });
    match tokio::time::timeout(patience, result).await {
        Ok(Ok(opened)) => Ok((conn, opened)),
        Ok(Err(_ended)) => Err(lost(&conn)),
        Err(_elapsed) => {
            // Others may still be well served by it.
            conn.retire();
            let message =
                format!("the server did not answer within {patience:?} when a channel was opened");
            Err(Error::connection(ConnectionStage::Channel, message, None))
        }
    }
}

/// Opens a session on this slot, in a task that nobody cancels. The slot where it is refused.
pub(crate) async fn open_with(lease: Lease) -> std::result::Result<OpenChannel, Option<Lease>> {
    match lease.conn().open(&Opening::Session).await {
        Ok(channel) => Ok(OpenChannel::new(channel, lease)),
        Err(OpenError::Refused(_)) => Err(Some(lease)),
        Err(OpenError::Lost) => Err(None),
    }
}

impl OpenChannel {
    fn new(channel: Channel<Msg>, lease: Lease) -> Self {
        let (read, write) = channel.split();
        let (write, conn) = (Arc::new(write), Arc::clone(lease.conn()));
        Self {
            read,
            write: Arc::clone(&write),
            guard: Guard {
                write,
                conn,
                lease: Some(lease),
            },
        }
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.guard.conn
    }

    /// It is kept, and nothing is done with it; its connection counts as idle.
    pub(crate) fn pause(&mut self) {
        if let Some(lease) = &mut self.guard.lease {
            lease.pause();
        }
    }

    /// It is used.
    pub(crate) fn resume(&mut self) {
        if let Some(lease) = &mut self.guard.lease {
            lease.resume();
        }
    }

    /// Closes it, unless the server has, and then gives its slot back.
    pub(crate) async fn finish(self, closed_by_server: bool) {
        let Self {
            read, mut guard, ..
        } = self;
        drop(read);
        let Some(lease) = guard.lease.take() else {
            return;
        };
        if !closed_by_server {
            close(&guard.write, &lease).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        let write = Arc::clone(&self.write);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { close(&write, &lease).await })),
            Err(_) => self.conn.life().kill(),
        }
    }
}

/// Sends the close. On a connection that carries nothing else, the server must answer after
/// it: it may have been held back by data that nobody read. One that others use is left to
/// its own watch, however slow it is.
async fn close(write: &ChannelWriteHalf<Msg>, lease: &Lease) {
    let conn = lease.conn();
    tracing::trace!("a channel is closed from this side");
    conn.facts.closed(write.id());
    if conn.safe_channels() == 1 {
        // What still runs there could disturb the next command.
        conn.retire();
    }
    let sent = async {
        tokio::select! {
            biased;
            sent = write.close() => sent.is_ok(),
            () = conn.life().ended() => false,
        }
    };
    if !lease.is_exclusive() {
        sent.await;
        return;
    }
    let checked = async { sent.await && conn.ping(CLOSING).await };
    if !tokio::time::timeout(CLOSING, checked)
        .await
        .unwrap_or(false)
    {
        conn.life().kill();
    }
}

fn lost(conn: &Conn) -> Error {
    let message = match conn.facts.end() {
        Some(why) => format!("the connection was lost: {why}"),
        None => "the connection was lost".to_owned(),
    };
    Error::connection(ConnectionStage::Channel, message, None)
}

fn not_listening(reason: &ChannelOpenFailure, host: &str, port: u16) -> Error {
    let message = match reason {
        ChannelOpenFailure::AdministrativelyProhibited => {
            format!("the server does not allow connections to {host}:{port} (AllowTcpForwarding)")
        }
        _ => format!("nothing answers at {host}:{port} inside it"),
    };
    Error::connection(ConnectionStage::Channel, message, None)
}
