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

/// How long a close may take to be sent, and a server to answer after it, before the
/// connection is given up.
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

/// How a channel is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The server has closed it.
    ByServer,
    /// Close it.
    Close,
    /// Close it, and make sure that its connection can be used again: it may have been held
    /// back by data that nobody read.
    CloseAndCheck,
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
    let give_up = Deadline::after(patience);
    let mut pause = RETRY.0;
    let (mut refusals, mut losses) = (0, 0);
    loop {
        let lease = pool.checkout(deadline).await?;
        let (conn, opened) = open_on(lease, opening.clone(), patience).await?;
        let refusal = match (opened, opening) {
            (Ok(channel), _) => return Ok(channel),
            (Err((lease, OpenError::Refused(reason))), Opening::Session) => {
                pool.refused(&lease);
                reason
            }
            (Err((_, OpenError::Refused(reason))), Opening::Tcp { host, port }) => {
                return Err(not_listening(&reason, host, *port));
            }
            (Err((lease, error @ (OpenError::Lost | OpenError::Silent))), _) => {
                losses += 1;
                if losses >= LOSSES || matches!(error, OpenError::Silent) {
                    return Err(lost(&conn, &error));
                }
                drop(lease);
                continue;
            }
        };
        refusals = if conn.facts.allowed() == 0 { refusals + 1 } else { 0 };
        if refusals >= REFUSALS || give_up.has_passed() {
            return Err(Error::connection(
                ConnectionStage::Channel,
                format!("the server refuses sessions ({refusal:?}); its MaxSessions may be too low"),
                None,
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY.1);
    }
}

type Opened = std::result::Result<OpenChannel, (Lease, OpenError)>;

/// Opens a channel in a task of its own, so that it is closed should nobody want it any more.
async fn open_on(lease: Lease, opening: Opening, patience: Duration) -> Result<(Arc<Conn>, Opened)> {
    let conn = Arc::clone(lease.conn());
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        let opened = match lease.conn().open(&opening, patience).await {
            Ok(channel) => Ok(OpenChannel::new(channel, lease)),
            Err(error) => Err((lease, error)),
        };
        // Dropping an open channel closes it.
        drop(done.send(opened));
    });
    match result.await {
        Ok(opened) => Ok((conn, opened)),
        Err(_ended) => Err(lost(&conn, &OpenError::Lost)),
    }
}

impl OpenChannel {
    fn new(channel: Channel<Msg>, lease: Lease) -> Self {
        let (read, write) = channel.split();
        let (write, conn) = (Arc::new(write), Arc::clone(lease.conn()));
        Self { read, write: Arc::clone(&write), guard: Guard { write, conn, lease: Some(lease) } }
    }

    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.guard.conn
    }

    /// Ends it, and then gives its slot back.
    pub(crate) async fn finish(self, ending: Ending) {
        let Self { read, mut guard, .. } = self;
        drop(read);
        if let Some(lease) = guard.lease.take() {
            end(&guard.write, &lease, ending).await;
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let write = Arc::clone(&self.write);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                drop(runtime.spawn(async move { end(&write, &lease, Ending::CloseAndCheck).await }))
            }
            Err(_) => self.conn.life().kill(),
        }
    }
}

async fn end(write: &ChannelWriteHalf<Msg>, lease: &Lease, ending: Ending) {
    let conn = lease.conn();
    if ending == Ending::ByServer || conn.life().is_dead() {
        return;
    }
    conn.facts.closed(write.id());
    if conn.safe_channels() == 1 {
        // What still runs there could disturb the next command.
        conn.retire();
    }
    let close =
        async { write.close().await.is_ok() && (ending == Ending::Close || conn.ping(CLOSING).await) };
    if !tokio::time::timeout(CLOSING, close).await.unwrap_or(false) {
        conn.life().kill();
    }
}

fn lost(conn: &Conn, error: &OpenError) -> Error {
    let message = match (error, conn.facts.end()) {
        (OpenError::Silent, _) => "the server did not answer the opening of a channel".to_owned(),
        (_, Some(why)) => format!("the connection was lost: {why}"),
        _ => "the connection was lost".to_owned(),
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
