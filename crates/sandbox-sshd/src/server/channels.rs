//! The channels of one connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pty_process::Size;
use russh::server::{ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty};
use sandbox_core::protocol;
use tokio::sync::mpsc;

use super::forwarded_channels::{ForwardedChannels, NewChannel};
use super::owner::OpenConnection;
use super::request::{ForwardTarget, Request, UnstartedChannel};
use super::ssh_config;
use super::state::ServerState;
use crate::channel::backlog::Backlog;
use crate::channel::gate::ReadGate;
use crate::channel::input::{InputWriter, new_input};
use crate::channel::io::{ChannelIo, Control};
use crate::channel::output::Output;
use crate::channel::write_backlog::WriteBacklog;
use crate::lifetime::Activity;
use crate::process::pty::Terminal;

/// Signals and window sizes that wait for a command to take them; more are refused.
const MAX_CONTROLS: usize = 64;
/// How long reading pauses after new window was granted to a channel whose backlog is long.
const SCARCE_WINDOW_PAUSE: Duration = Duration::from_millis(20);

/// The channels of one connection.
pub(crate) struct Channels {
    server: Arc<ServerState>,
    gate: Arc<ReadGate>,
    connection: Arc<OpenConnection>,
    entries: HashMap<ChannelId, Entry>,
    /// Channels that this side opens.
    forwarded: Arc<ForwardedChannels>,
}

/// One channel. Dropping it notifies the task that serves the channel.
struct Entry {
    input: InputWriter,
    control: mpsc::Sender<Control>,
    /// Taken by the request that starts something on the channel.
    unstarted: Option<UnstartedChannel>,
    env_bytes: usize,
    /// It receives in bulk, and nothing waits for it, so it gets large windows.
    is_bulk: bool,
}

impl Channels {
    pub(crate) fn new(
        server: Arc<ServerState>,
        gate: Arc<ReadGate>,
        write_backlog: Arc<WriteBacklog>,
        connection: Arc<OpenConnection>,
    ) -> Self {
        let home = server.config.home.clone();
        let create = move || {
            let (input_writer, input) = new_input(Backlog::new(home.clone()));
            let (control, controls) = mpsc::channel(1);
            NewChannel {
                writer: (input_writer, control),
                reader: (input, controls),
            }
        };
        let forwarded = ForwardedChannels::new(create, write_backlog);
        Self {
            server,
            gate,
            connection,
            entries: HashMap::new(),
            forwarded,
        }
    }

    /// The channels that this side opens.
    pub(crate) fn forwarded(&self) -> Arc<ForwardedChannels> {
        Arc::clone(&self.forwarded)
    }

    /// Adds a channel that this side has opened, once the client has confirmed it.
    pub(crate) fn add_forwarded(&mut self, id: ChannelId) {
        self.server.lifetime.touch();
        self.forget_ended();
        if let Some((input, control)) = self.forwarded.take_writer(id) {
            let entry = Entry {
                input,
                control,
                unstarted: None,
                env_bytes: 0,
                is_bulk: false,
            };
            self.entries.insert(id, entry);
        }
    }

    /// Adds a channel, unless the connection has too many.
    ///
    /// A closed connection gets none, although messages that arrived before may still be read: after a
    /// claim, nothing of a former owner starts any more.
    pub(crate) fn add(&mut self, channel: Channel<Msg>, session: &Session) -> Option<ChannelId> {
        if self.connection.is_closed() {
            return None;
        }
        self.server.lifetime.touch();
        self.forget_ended();
        if self.entries.len() >= self.server.config.max_channels {
            return None;
        }
        let id = channel.id();
        // The reading half is dropped: its bounded queue would block the whole connection.
        let (_, output) = channel.split();
        let is_sdk = session
            .remote_sshid()
            .starts_with(protocol::CLIENT_ID.as_bytes());
        let output = Output::new(output, session.handle(), is_sdk);
        let (input_writer, input) = new_input(Backlog::new(self.server.config.home.clone()));
        let (control, controls) = mpsc::channel(MAX_CONTROLS);
        let activity = self.server.lifetime.begin(Activity::ReadyChannel);
        let unstarted = UnstartedChannel::new(
            ChannelIo {
                input,
                output,
                control: controls,
            },
            activity,
        );
        self.entries.insert(
            id,
            Entry {
                input: input_writer,
                control,
                unstarted: Some(unstarted),
                env_bytes: 0,
                is_bulk: false,
            },
        );
        Some(id)
    }

    /// russh does not report the close of a channel that this side closed first.
    fn forget_ended(&mut self) {
        self.entries.retain(|_, entry| !entry.control.is_closed());
    }

    /// Starts a task for a request. Returns `false` if the channel is already in use, or if the
    /// request cannot be served.
    pub(crate) fn start(&mut self, id: ChannelId, request: Request) -> bool {
        if self.connection.is_closed() {
            return false;
        }
        self.server.lifetime.touch();
        let is_bulk = matches!(request, Request::Tree);
        let unstarted = self.entries.get_mut(&id).and_then(|entry| {
            entry
                .unstarted
                .take_if(|channel| channel.can_serve(&request, &self.server))
        });
        match unstarted {
            Some(channel) => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.is_bulk = is_bulk;
                }
                tokio::spawn(channel.run(request, Arc::clone(&self.server)));
                true
            }
            None => false,
        }
    }

    /// Adds a channel and starts a task that connects it to an address inside the sandbox. The
    /// task answers the client when it has connected.
    pub(crate) async fn forward(
        &mut self,
        channel: Channel<Msg>,
        target: ForwardTarget,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) {
        let unstarted = self
            .add(channel, session)
            .and_then(|id| self.entries.get_mut(&id)?.unstarted.take());
        match unstarted {
            Some(channel) => drop(tokio::spawn(channel.forward(
                target,
                reply,
                Arc::clone(&self.server),
            ))),
            None => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
    }

    /// Sets a variable for the command that will be started. Returns `false` if it is refused.
    pub(crate) fn set_env(&mut self, id: ChannelId, name: &str, value: &str) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        let Some(channel) = &mut entry.unstarted else {
            return false;
        };
        entry.env_bytes = entry.env_bytes.saturating_add(name.len() + value.len() + 2);
        if entry.env_bytes > protocol::MAX_COMMAND {
            // Clients do not wait for the replies, so the command must not run without a variable.
            channel.refuse_as_too_long();
            return false;
        }
        channel.set_env(name, value, &self.server.config)
    }

    /// Opens a terminal for the command that will be started. Returns `false` if there is none.
    pub(crate) fn open_terminal(
        &mut self,
        id: ChannelId,
        term: &str,
        size: Size,
        modes: &[(Pty, u32)],
    ) -> bool {
        let unstarted = self
            .entries
            .get_mut(&id)
            .and_then(|entry| entry.unstarted.as_mut());
        let Some(channel) = unstarted else {
            return false;
        };
        match Terminal::open(term, size, modes) {
            Ok(terminal) => {
                channel.set_terminal(terminal);
                true
            }
            Err(error) => {
                tracing::debug!(%error, "terminal not opened");
                false
            }
        }
    }

    /// Passes a signal or a window size to the command of a channel. Returns `false` if there is
    /// no such channel, or if too many are waiting.
    pub(crate) fn send_control(&self, id: ChannelId, control: Control) -> bool {
        self.server.lifetime.touch();
        self.entries
            .get(&id)
            .is_some_and(|entry| entry.control.try_send(control).is_ok())
    }

    pub(crate) fn push_input(&self, id: ChannelId, data: &[u8]) {
        if let Some(entry) = self.entries.get(&id) {
            self.server.lifetime.touch();
            entry.input.push(Bytes::copy_from_slice(data));
        }
    }

    /// The size of the next windows, after russh has granted a channel new window. russh has one
    /// size for all channels of a connection.
    pub(crate) fn next_window(&self, id: ChannelId) -> u32 {
        let scarce = self
            .entries
            .values()
            .filter_map(|entry| entry.input.scarce_window());
        let Some(window) = scarce.min() else {
            return match self.entries.get(&id) {
                Some(entry) if entry.is_bulk => ssh_config::BULK_WINDOW,
                _ => ssh_config::WINDOW,
            };
        };
        let is_scarce = |entry: &Entry| entry.input.scarce_window().is_some();
        if self.entries.get(&id).is_some_and(is_scarce) {
            self.gate.pause(SCARCE_WINDOW_PAUSE);
        }
        window
    }

    pub(crate) fn end_input(&self, id: ChannelId) {
        if let Some(entry) = self.entries.get(&id) {
            entry.input.end();
        }
    }

    /// Removes a channel that the client closed.
    pub(crate) fn remove(&mut self, id: ChannelId) {
        self.forwarded.forget(id);
        let removed = self.entries.remove(&id);
        // The end of a channel on which nothing was started does not defer the idle timeout.
        if removed.is_some_and(|entry| entry.unstarted.is_none()) {
            self.server.lifetime.touch();
        }
    }
}
