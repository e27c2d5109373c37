//! Channels that the server opens: connections to a port inside that this side serves (RFC 4254 §7.2).
//!
//! A server may open as many as it likes, so only so many are accepted at once, and only if this side has asked for them.

use std::sync::{Arc, OnceLock};

use russh::client::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The most connections at once. Each may have a whole window of received data in memory.
pub(crate) const MAX_INCOMING: usize = 256;

/// A connection to a port inside.
pub(crate) struct IncomingChannel {
    pub(crate) channel: Channel<Msg>,
    /// Counts it as long as it is kept.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// Where the channels go that the server opens. Without a receiver, all are refused.
#[derive(Debug, Default)]
pub(super) struct Incoming(OnceLock<Sink>);

#[derive(Debug)]
struct Sink {
    sender: mpsc::Sender<IncomingChannel>,
    room: Arc<Semaphore>,
}

impl Incoming {
    /// Accepts channels from now on. `None` if this was called before.
    pub(super) fn accept(&self) -> Option<mpsc::Receiver<IncomingChannel>> {
        let (sender, receiver) = mpsc::channel(MAX_INCOMING);
        let room = Arc::new(Semaphore::new(MAX_INCOMING));
        self.0.set(Sink { sender, room }).ok().map(|()| receiver)
    }

    /// Accepts or refuses a channel.
    pub(super) async fn receive(&self, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let Some(sink) = self.0.get() else {
            return reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
        };
        let Ok(permit) = Arc::clone(&sink.room).try_acquire_owned() else {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        match sink.sender.try_send(IncomingChannel { channel, permit }) {
            Ok(()) => reply.accept().await,
            Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
    }
}
