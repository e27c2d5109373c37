//! An open channel, which is closed whatever happens.
//!
//! russh sends nothing if a channel is dropped, and if an opening is cancelled, the server opens the
//! channel all the same. So a channel is opened in a task of its own that also holds its slot, and
//! a dropped channel is closed in a task of its own. The slot is free once the close is sent.

use std::sync::Arc;
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use sandbox_core::{ConnectionStage, Error, Result};

use crate::connection::{Connection, OpenError, Opening};
use crate::pool::SlotInUse;

/// How long a close may take on a connection that carries nothing else, including a server's answer
/// after it, before the connection is given up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the server may take to close a channel whose command has ended.
const SERVER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open channel with its slot.
#[derive(Debug)]
pub(crate) struct OpenChannel {
    // Dropped before the guard, so that russh no longer waits for received data to be read.
    pub(crate) read: ChannelReadHalf,
    pub(crate) write: Arc<ChannelWriteHalf<Msg>>,
    guard: Guard,
}

/// Closes the channel when dropped.
#[derive(Debug)]
struct Guard {
    write: Arc<ChannelWriteHalf<Msg>>,
    conn: Arc<Connection>,
    /// `None` once closed.
    slot: Option<SlotInUse>,
}

impl OpenChannel {
    /// Opens a channel with this slot, which is returned with an error.
    ///
    /// Must run in a task that is never cancelled: see [`Connection::open`].
    pub(super) async fn open(
        slot: SlotInUse,
        opening: &Opening,
    ) -> std::result::Result<Self, (SlotInUse, OpenError)> {
        match slot.conn().open(opening).await {
            Ok(channel) => Ok(Self::new(channel, slot)),
            Err(error) => Err((slot, error)),
        }
    }

    fn new(channel: Channel<Msg>, slot: SlotInUse) -> Self {
        let (read, write) = channel.split();
        let write = Arc::new(write);
        let guard = Guard {
            write: Arc::clone(&write),
            conn: Arc::clone(slot.conn()),
            slot: Some(slot),
        };
        Self { read, write, guard }
    }

    pub(crate) fn conn(&self) -> &Arc<Connection> {
        &self.guard.conn
    }

    /// Starts a subsystem; `false` if the server does not have it.
    pub(crate) async fn start_subsystem(&mut self, name: &str) -> Result<bool> {
        self.request_subsystem(name).await?;
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Success) => return Ok(true),
                Some(ChannelMsg::Failure | ChannelMsg::Close) => return Ok(false),
                Some(_) => {}
                None => return Err(lost_error(None)),
            }
        }
    }

    /// Requests a subsystem, and does not wait for the reply.
    pub(super) async fn request_subsystem(&self, name: &str) -> Result<()> {
        let requested = self.write.request_subsystem(true, name).await;
        requested.map_err(|error| lost_error(Some(error)))
    }

    /// Parks the channel: its connection counts as idle.
    pub(super) fn pause(&mut self) {
        if let Some(slot) = &mut self.guard.slot {
            slot.pause();
        }
    }

    /// Ends a [`pause`](Self::pause).
    pub(super) fn resume(&mut self) {
        if let Some(slot) = &mut self.guard.slot {
            slot.resume();
        }
    }

    /// Closes the channel, unless the server has, and then returns its slot to the pool.
    pub(crate) async fn finish(self, closed_by_server: bool) {
        let Self {
            read, mut guard, ..
        } = self;
        drop(read);
        let Some(slot) = guard.slot.take() else {
            return;
        };
        if !closed_by_server {
            close(&guard.write, &slot).await;
        }
    }

    /// Closes the channel of a command that has ended. The server gets the time to close it first,
    /// because russh then keeps nothing of it.
    pub(crate) async fn finish_after_server(mut self) {
        let closing = async {
            loop {
                match self.read.wait().await {
                    Some(ChannelMsg::Close) => return true,
                    None => return false,
                    Some(_) => {}
                }
            }
        };
        let closed = tokio::time::timeout(SERVER_CLOSE_TIMEOUT, closing).await;
        self.finish(closed.unwrap_or(false)).await;
    }
}

fn lost_error(source: Option<russh::Error>) -> Error {
    let source = source.map(Into::into);
    Error::connection(ConnectionStage::Channel, "the connection was lost", source)
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else {
            return;
        };
        let write = Arc::clone(&self.write);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { close(&write, &slot).await })),
            Err(_) => self.conn.kill(),
        }
    }
}

/// Sends the close.
///
/// On a connection that carries nothing else, the server must answer after it, because unread data
/// may have blocked the connection. A shared connection is left to the watch of its other users,
/// however slow it is.
async fn close(write: &ChannelWriteHalf<Msg>, slot: &SlotInUse) {
    let conn = slot.conn();
    tracing::trace!("closing a channel");
    conn.state.remove_channel(write.id());
    if conn.safe_channels() == 1 {
        // A process that still runs there could disturb the next command.
        conn.retire();
    }
    let sent = async {
        tokio::select! {
            biased;
            sent = write.close() => sent.is_ok(),
            () = conn.wait_ended() => false,
        }
    };
    if !slot.is_exclusive() {
        sent.await;
        return;
    }
    let answered = async { sent.await && conn.ping(CLOSE_TIMEOUT).await };
    let answered = tokio::time::timeout(CLOSE_TIMEOUT, answered).await;
    if !answered.unwrap_or(false) {
        conn.kill();
    }
}
