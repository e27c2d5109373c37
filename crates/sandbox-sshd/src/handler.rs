//! What a client asks for on a connection, and the answers.
//!
//! Everything that russh tells comes in through callbacks here; the reading halves of its
//! channels are dropped at once, for their bounded queues would stop the whole connection
//! (see [`inbox`](crate::inbox)). A request is answered in its callback, as russh keeps only
//! one reply per channel; what it starts runs in a task of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, Sig};
use sandbox_core::protocol;
use tokio::sync::mpsc;

use crate::backlog::Backlog;
use crate::command::{Control, Ends};
use crate::inbox::{InboxWriter, inbox};
use crate::lifetime::{InUse, Use};
use crate::output::Output;
use crate::pty::{self, Terminal};
use crate::server::{PendingLogin, Shared};
use crate::start::{Request, Start};
use crate::transport::Gate;

/// Signals and sizes that wait for a command to take them; more are dropped.
const CONTROLS: usize = 64;
/// Bytes of environment that one channel may ask for.
const ENVIRONMENT: usize = 1 << 20;

/// One connection.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    gate: Arc<Gate>,
    authenticated: Arc<AtomicBool>,
    pending: Option<PendingLogin>,
    client: Option<InUse>,
    channels: HashMap<ChannelId, Entry>,
}

/// One channel.
struct Entry {
    inbox: InboxWriter,
    control: mpsc::Sender<Control>,
    /// Until something is started on it.
    start: Option<Start>,
    env_bytes: usize,
}

impl Connection {
    pub(crate) fn new(
        shared: Arc<Shared>,
        gate: Arc<Gate>,
        authenticated: Arc<AtomicBool>,
        pending: PendingLogin,
    ) -> Self {
        Self {
            shared,
            gate,
            authenticated,
            pending: Some(pending),
            client: None,
            channels: HashMap::new(),
        }
    }

    /// Registers a channel, unless there are too many.
    fn register(&mut self, channel: Channel<Msg>, session: &Session) -> Option<ChannelId> {
        self.shared.lifetime.touch();
        // A channel that we closed ourselves is not reported again.
        self.channels.retain(|_, entry| !entry.control.is_closed());
        if self.channels.len() >= self.shared.config.max_channels {
            return None;
        }
        let id = channel.id();
        let (_, output) = channel.split();
        let output = Output::new(output, session.handle(), Arc::clone(&self.gate));
        let (inbox, input) = inbox(
            Arc::clone(&self.gate),
            Backlog::new(self.shared.config.home.clone()),
        );
        let (control, controls) = mpsc::channel(CONTROLS);
        let using = self.shared.lifetime.begin(Use::Ready);
        let start = Some(Start::new(
            Ends {
                input,
                output,
                control: controls,
            },
            using,
        ));
        self.channels.insert(
            id,
            Entry {
                inbox,
                control,
                start,
                env_bytes: 0,
            },
        );
        Some(id)
    }

    /// Starts something on a channel on which nothing was started yet.
    fn start(
        &mut self,
        id: ChannelId,
        request: Request,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.shared.lifetime.touch();
        let entry = self.channels.get_mut(&id);
        match entry.and_then(|entry| {
            entry
                .start
                .take_if(|start| start.accepts(&request, &self.shared))
        }) {
            Some(start) => {
                tokio::spawn(start.run(request, Arc::clone(&self.shared)));
                session.channel_success(id)
            }
            None => session.channel_failure(id),
        }
    }

    fn control(&self, id: ChannelId, control: Control) -> bool {
        self.shared.lifetime.touch();
        self.channels
            .get(&id)
            .is_some_and(|entry| entry.control.try_send(control).is_ok())
    }

    fn answer(id: ChannelId, done: bool, session: &mut Session) -> Result<(), russh::Error> {
        if done {
            session.channel_success(id)
        } else {
            session.channel_failure(id)
        }
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(self
            .shared
            .admits(user, offer.public_key)
            .map_or_else(Auth::reject, |()| Auth::Accept))
    }

    /// The signature was verified by russh.
    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.shared.admits(user, key.public_key).is_none() {
            let only = MethodSet::from(&[MethodKind::PublicKey][..]);
            return Ok(Auth::Reject {
                proceed_with_methods: Some(only),
                partial_success: false,
            });
        }
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        self.authenticated.store(true, Ordering::Relaxed);
        self.client = Some(self.shared.lifetime.begin(Use::Client));
        self.pending = None;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.register(channel, session) {
            Some(_) => reply.accept().await,
            None => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.forward(
            channel,
            Request::Tcp {
                host: host.to_owned(),
                port,
            },
            reply,
            session,
        )
        .await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.forward(
            channel,
            Request::Unix {
                path: path.to_owned(),
            },
            reply,
            session,
        )
        .await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let taken = self.channels.get_mut(&id).is_some_and(|entry| {
            entry.env_bytes = entry.env_bytes.saturating_add(name.len() + value.len() + 2);
            entry.env_bytes <= ENVIRONMENT
                && entry
                    .start
                    .as_mut()
                    .is_some_and(|start| start.set_env(name, value))
        });
        Self::answer(id, taken, session)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let start = self
            .channels
            .get_mut(&id)
            .and_then(|entry| entry.start.as_mut());
        let opened = start.is_some_and(|start| {
            match Terminal::open(term, pty::size(columns, rows, width, height), modes) {
                Ok(terminal) => {
                    start.set_terminal(terminal);
                    true
                }
                Err(error) => {
                    tracing::debug!(%error, "no terminal can be opened");
                    false
                }
            }
        });
        Self::answer(id, opened, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Request::Exec(line.to_vec()), session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.start(id, Request::Shell, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = match name {
            "sftp" => Request::Sftp,
            protocol::JOB_SUBSYSTEM => Request::Attach,
            protocol::JOBS_SUBSYSTEM => Request::Jobs,
            protocol::LIFETIME_SUBSYSTEM => Request::Extend,
            _ => return session.channel_failure(id),
        };
        self.start(id, request, session)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let done = self.control(id, Control::Resize(pty::size(columns, rows, width, height)));
        Self::answer(id, done, session)
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let signal = name(&signal).parse().ok();
        let done = signal.is_some_and(|signal| self.control(id, Control::Signal(signal)));
        Self::answer(id, done, session)
    }

    async fn agent_request(
        &mut self,
        _id: ChannelId,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(false)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(entry) = self.channels.get(&id) {
            self.shared.lifetime.touch();
            entry.inbox.push(Bytes::copy_from_slice(data));
        }
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(entry) = self.channels.get(&id) {
            entry.inbox.eof();
        }
        Ok(())
    }

    /// Dropping the entry tells its task.
    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self
            .channels
            .remove(&id)
            .is_some_and(|entry| entry.start.is_none())
        {
            self.shared.lifetime.touch();
        }
        Ok(())
    }
}

impl Connection {
    /// Opens a channel once the connection inside the sandbox stands.
    async fn forward(
        &mut self,
        channel: Channel<Msg>,
        target: Request,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) {
        let start = self
            .register(channel, session)
            .and_then(|id| self.channels.get_mut(&id)?.start.take());
        match start {
            Some(start) => drop(tokio::spawn(start.forward(
                target,
                reply,
                Arc::clone(&self.shared),
            ))),
            None => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
    }
}

fn name(signal: &Sig) -> &str {
    match signal {
        Sig::ABRT => "ABRT",
        Sig::ALRM => "ALRM",
        Sig::FPE => "FPE",
        Sig::HUP => "HUP",
        Sig::ILL => "ILL",
        Sig::INT => "INT",
        Sig::KILL => "KILL",
        Sig::PIPE => "PIPE",
        Sig::QUIT => "QUIT",
        Sig::SEGV => "SEGV",
        Sig::TERM => "TERM",
        Sig::USR1 => "USR1",
        Sig::Custom(name) => name,
    }
}
