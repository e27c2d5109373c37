//! Channels that this side opens, before both of their ends are taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use russh::ChannelId;
use tokio::sync::mpsc;

use crate::channel::input::{InputReader, InputWriter};
use crate::channel::io::Control;
use crate::channel::write_backlog::WriteBacklog;
use crate::lock::lock;

/// Both ends of the input of each channel that this side opens, until both are taken.
///
/// The connection learns of the channel when the client confirms it, and so does the task that has opened it, in either order.
/// Whoever is first creates the input.
pub(crate) struct ForwardedChannels {
    create: Box<dyn Fn() -> NewChannel + Send + Sync>,
    /// What the connection has not sent yet.
    write_backlog: Arc<WriteBacklog>,
    waiting: Mutex<HashMap<ChannelId, Waiting>>,
}

/// The input and the control requests of a new channel.
pub(crate) struct NewChannel {
    pub(crate) writer: (InputWriter, mpsc::Sender<Control>),
    pub(crate) reader: (InputReader, mpsc::Receiver<Control>),
}

/// What the other side has not taken yet.
enum Waiting {
    Writer((InputWriter, mpsc::Sender<Control>)),
    Reader((InputReader, mpsc::Receiver<Control>)),
}

impl ForwardedChannels {
    pub(crate) fn new(
        create: impl Fn() -> NewChannel + Send + Sync + 'static,
        write_backlog: Arc<WriteBacklog>,
    ) -> Arc<Self> {
        Arc::new(Self {
            create: Box::new(create),
            write_backlog,
            waiting: Mutex::default(),
        })
    }

    /// What the connection has not sent yet.
    pub(crate) fn write_backlog(&self) -> Arc<WriteBacklog> {
        Arc::clone(&self.write_backlog)
    }

    /// Takes the side of the connection; `None` if it was taken.
    pub(crate) fn take_writer(
        &self,
        id: ChannelId,
    ) -> Option<(InputWriter, mpsc::Sender<Control>)> {
        let mut waiting = lock(&self.waiting);
        match waiting.remove(&id) {
            Some(Waiting::Writer(writer)) => Some(writer),
            Some(Waiting::Reader(_)) => None,
            None => {
                let NewChannel { writer, reader } = (self.create)();
                waiting.insert(id, Waiting::Reader(reader));
                Some(writer)
            }
        }
    }

    /// Forgets a channel that has ended before the task that has opened it took its side.
    pub(crate) fn forget(&self, id: ChannelId) {
        lock(&self.waiting).remove(&id);
    }

    /// Takes the side of the task; `None` if it was taken.
    pub(crate) fn take_reader(
        &self,
        id: ChannelId,
    ) -> Option<(InputReader, mpsc::Receiver<Control>)> {
        let mut waiting = lock(&self.waiting);
        match waiting.remove(&id) {
            Some(Waiting::Reader(reader)) => Some(reader),
            Some(Waiting::Writer(_)) => None,
            None => {
                let NewChannel { writer, reader } = (self.create)();
                waiting.insert(id, Waiting::Writer(writer));
                Some(reader)
            }
        }
    }
}
