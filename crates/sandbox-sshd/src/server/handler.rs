//! The callbacks of russh: the requests of a client, and the replies.
//!
//! All input arrives through callbacks here; the reading halves of russh's channels are dropped,
//! because their bounded queues would stop the whole connection (see
//! [`input`](crate::channel::input)). A request is answered in its callback, because russh keeps
//! only one reply per channel. Whatever it starts runs in a task of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, Sig};
use sandbox_core::protocol;

use super::channels::Channels;
use super::logins::PendingLogin;
use super::owner::OpenConnection;
use super::request::{ForwardTarget, Request};
use super::reverse::Grant;
use super::state::ServerState;
use crate::channel::gate::ReadGate;
use crate::channel::io::Control;
use crate::channel::signals;
use crate::channel::write_backlog::WriteBacklog;
use crate::lifetime::{Activity, ActivityGuard};
use crate::process::pty::terminal_size;

/// Answers the messages of one connection.
pub(crate) struct ConnectionHandler {
    server: Arc<ServerState>,
    channels: Channels,
    connection: Arc<OpenConnection>,
    authenticated: Arc<AtomicBool>,
    /// Dropped when the client has authenticated.
    pending: Option<PendingLogin>,
    /// Present once the client has authenticated.
    client: Option<ActivityGuard>,
    /// Present while the client serves the port inside that it has asked for.
    grant: Option<Grant>,
}

impl ConnectionHandler {
    pub(crate) fn new(
        server: Arc<ServerState>,
        gate: Arc<ReadGate>,
        write_backlog: Arc<WriteBacklog>,
        authenticated: Arc<AtomicBool>,
        pending: PendingLogin,
        connection: Arc<OpenConnection>,
    ) -> Self {
        Self {
            channels: Channels::new(
                Arc::clone(&server),
                gate,
                write_backlog,
                Arc::clone(&connection),
            ),
            connection,
            server,
            authenticated,
            pending: Some(pending),
            client: None,
            grant: None,
        }
    }
}

impl Handler for ConnectionHandler {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.server.is_authorized(user, offer.public_key) {
            Ok(Auth::Accept)
        } else {
            Ok(Auth::reject())
        }
    }

    /// russh has verified the signature.
    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        if self.server.is_authorized(user, key.public_key) {
            return Ok(Auth::Accept);
        }
        Ok(Auth::Reject {
            proceed_with_methods: Some(MethodSet::from(&[MethodKind::PublicKey][..])),
            partial_success: false,
        })
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), Self::Error> {
        self.authenticated.store(true, Ordering::Relaxed);
        self.client = Some(self.server.lifetime.begin(Activity::Client));
        self.pending = None;
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match self.channels.add(channel, session) {
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
        let target = ForwardTarget::Tcp {
            host: host.to_owned(),
            port,
        };
        self.channels.forward(channel, target, reply, session).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let target = ForwardTarget::Unix {
            path: path.to_owned(),
        };
        self.channels.forward(channel, target, reply, session).await;
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        // Other clients forward what the configuration of a user says for all hosts, such as the user's own SSH server.
        let is_sdk = session
            .remote_sshid()
            .starts_with(protocol::CLIENT_ID.as_bytes());
        if !is_sdk || self.connection.is_closed() {
            return Ok(false);
        }
        let granted = self.server.reverse_port.grant(
            address,
            *port,
            session.handle(),
            self.channels.forwarded(),
            Arc::clone(&self.server.lifetime),
        );
        match granted {
            Ok((bound, grant)) => {
                *port = bound.into();
                self.grant = Some(grant);
                Ok(true)
            }
            // The reply has no room for words.
            Err(error) => {
                tracing::info!(port = *port, %error, "port not forwarded to the client");
                Ok(false)
            }
        }
    }

    async fn cancel_tcpip_forward(
        &mut self,
        _address: &str,
        _port: u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.grant.take().map(Grant::hand_over).is_some())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.add_forwarded(id);
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let accepted = self.channels.set_env(id, name, value);
        reply_to(id, accepted, session)
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
        let size = terminal_size(columns, rows, width, height);
        let opened = self.channels.open_terminal(id, term, size, modes);
        reply_to(id, opened, session)
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let started = self.channels.start(id, Request::Exec(line.to_vec()));
        reply_to(id, started, session)
    }

    async fn shell_request(
        &mut self,
        id: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let started = self.channels.start(id, Request::Shell);
        reply_to(id, started, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let request = match name {
            "sftp" => Request::Sftp,
            protocol::JOB_SUBSYSTEM => Request::AttachJob,
            protocol::JOBS_SUBSYSTEM => Request::ListJobs,
            protocol::LIFETIME_SUBSYSTEM => Request::SetLifetime,
            protocol::CLAIM_SUBSYSTEM => Request::Claim(Arc::clone(&self.connection)),
            protocol::TREE_SUBSYSTEM => Request::Tree,
            protocol::GUEST_SUBSYSTEM => Request::Guest,
            _ => return session.channel_failure(id),
        };
        let started = self.channels.start(id, request);
        reply_to(id, started, session)
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
        let size = terminal_size(columns, rows, width, height);
        let sent = self.channels.send_control(id, Control::Resize(size));
        reply_to(id, sent, session)
    }

    async fn signal(
        &mut self,
        id: ChannelId,
        signal: Sig,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let sent = signals::from_russh(&signal)
            .is_some_and(|signal| self.channels.send_control(id, Control::Signal(signal)));
        reply_to(id, sent, session)
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
        self.channels.push_input(id, data);
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, _current: u32) -> u32 {
        self.channels.next_window(id)
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.end_input(id);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.channels.remove(id);
        Ok(())
    }
}

fn reply_to(id: ChannelId, success: bool, session: &mut Session) -> Result<(), russh::Error> {
    if success {
        session.channel_success(id)
    } else {
        session.channel_failure(id)
    }
}
