//! Channels that the server opens: connections to a port inside that this side serves (RFC 4254 §7.2).
//!
//! A server may open as many as it likes and send on them what it likes. So only so many are accepted at once, only if this side
//! has asked for them, and what they have sent is bounded together ([`incoming_queue`](super::incoming_queue)).
//! sandbox-sshd waits when one is refused for lack of room, and asks again.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelId, ChannelOpenFailure, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::config::LISTENING_PACKET;
use super::incoming_queue::{Budget, NotTaken, QueueReader, QueueWriter, new_queue};
use crate::transport::KillSwitch;

/// The most connections at once. [`incoming_queue`](super::incoming_queue) says how much each may have in memory. They are a few
/// more than sandbox-sshd carries, because it may count one as ended earlier.
pub(crate) const MAX_INCOMING: usize = 1024;

/// A connection to a port inside.
pub(crate) struct IncomingChannel {
    pub(crate) received: QueueReader,
    pub(crate) write: ChannelWriteHalf<Msg>,
    /// Counts it as long as it is kept.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Where the channels go that the server opens. Without a receiver, all are refused.
#[derive(Debug, Default)]
pub(super) struct Incoming(OnceLock<Sink>);

#[derive(Debug)]
struct Sink {
    sender: mpsc::Sender<IncomingChannel>,
    limits: IncomingLimits,
}

/// How much a server may open and send. Connections that serve the same port one after the other share it.
#[derive(Debug, Clone)]
pub(crate) struct IncomingLimits {
    room: Arc<Semaphore>,
    budget: Budget,
}

impl Default for IncomingLimits {
    fn default() -> Self {
        Self {
            room: Arc::new(Semaphore::new(MAX_INCOMING)),
            budget: Budget::default(),
        }
    }
}

impl Incoming {
    /// Accepts channels from now on. `None` if this was called before.
    pub(super) fn accept(
        &self,
        limits: &IncomingLimits,
    ) -> Option<mpsc::Receiver<IncomingChannel>> {
        let (sender, receiver) = mpsc::channel(MAX_INCOMING);
        let limits = limits.clone();
        let sink = Sink { sender, limits };
        self.0.set(sink).ok().map(|()| receiver)
    }
}

/// What the channels that the server has opened receive. Dropping it ends them as a reset does.
#[derive(Default)]
pub(super) struct IncomingData(HashMap<ChannelId, QueueWriter>);

impl IncomingData {
    /// Accepts or refuses a channel.
    pub(super) async fn open(
        &mut self,
        incoming: &Incoming,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let Some(sink) = incoming.0.get() else {
            return reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
        };
        let Ok(permit) = Arc::clone(&sink.limits.room).try_acquire_owned() else {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        // russh does not report the close of a channel that this side closed first.
        self.0.retain(|_, queue| queue.is_read());
        let id = channel.id();
        let (queue, received) = new_queue(&sink.limits.budget);
        // russh's own queue is dropped: it counts messages, of any size.
        let (_, write) = channel.split();
        let opened = IncomingChannel {
            received,
            write,
            permit,
        };
        match sink.sender.try_send(opened) {
            Ok(()) => {
                self.0.insert(id, queue);
                reply.accept().await;
            }
            Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
    }

    /// Keeps data until it is read. This blocks the whole connection, but not for ever.
    ///
    /// # Errors
    ///
    /// If the server sends more at once than it may, or if the connection has ended.
    pub(super) async fn push(
        &mut self,
        id: ChannelId,
        data: &[u8],
        kill_switch: &KillSwitch,
    ) -> Result<(), russh::Error> {
        let Some(queue) = self.0.get(&id) else {
            return Ok(());
        };
        if data.len() > LISTENING_PACKET as usize {
            return Err(russh::Error::PacketSize(data.len()));
        }
        let pushed = tokio::select! {
            biased;
            pushed = queue.push(data) => pushed,
            () = kill_switch.wait_ended() => return Err(russh::Error::Disconnect),
        };
        if let Err(NotTaken) = pushed {
            self.0.remove(&id);
        }
        Ok(())
    }

    /// Marks the end of the data of a channel.
    pub(super) async fn end(&mut self, id: ChannelId, kill_switch: &KillSwitch) {
        let Some(queue) = self.0.get(&id) else {
            return;
        };
        let ended = tokio::select! {
            biased;
            ended = queue.end() => ended,
            () = kill_switch.wait_ended() => return,
        };
        if let Err(NotTaken) = ended {
            self.0.remove(&id);
        }
    }

    /// Forgets a channel that the server has closed. Without an end before, that is a reset.
    pub(super) fn close(&mut self, id: ChannelId) {
        self.0.remove(&id);
    }
}
