//! The state of a connection, and the callbacks of russh that update it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use russh::client::{self, ChannelOpenHandle, DisconnectReason, Msg, Session};
use russh::keys::{HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelId, ChannelOpenFailure, Names};
use tokio_util::sync::DropGuard;

use super::incoming::{Incoming, IncomingData};
use crate::text::escape;
use crate::transport::KillSwitch;

/// The state of one connection, which its task writes.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    pub(crate) kill_switch: KillSwitch,
    /// The server's identification string.
    server_id: OnceLock<Vec<u8>>,
    /// The fingerprint of a host key that is not the pinned one.
    wrong_key: OnceLock<String>,
    /// Why the connection ended: the text of the server or of russh.
    end_reason: OnceLock<String>,
    /// Channels that the server counts as open.
    open_channels: Mutex<HashSet<ChannelId>>,
    /// How many channels were open when one was last refused.
    allowed_channels: AtomicUsize,
    /// Where the channels go that the server opens.
    pub(super) incoming: Incoming,
}

/// The callbacks of one connection, which live as long as its task.
pub(super) struct Handler {
    pin: PublicKey,
    state: Arc<ConnectionState>,
    /// What channels receive that the server has opened.
    incoming: IncomingData,
    _end: DropGuard,
}

impl ConnectionState {
    pub(super) fn new(kill_switch: KillSwitch) -> Self {
        Self {
            kill_switch,
            server_id: OnceLock::new(),
            wrong_key: OnceLock::new(),
            end_reason: OnceLock::new(),
            open_channels: Mutex::default(),
            allowed_channels: AtomicUsize::new(0),
            incoming: Incoming::default(),
        }
    }

    pub(super) fn server_id(&self) -> &[u8] {
        self.server_id.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn wrong_key(&self) -> Option<&str> {
        self.wrong_key.get().map(String::as_str)
    }

    /// Why the connection ended, if that is known.
    pub(crate) fn end_reason(&self) -> Option<&str> {
        self.end_reason.get().map(String::as_str)
    }

    /// Records why the connection ends; the first reason counts.
    pub(super) fn set_end_reason(&self, why: String) {
        drop(self.end_reason.set(why));
    }

    /// How many channels were open when one was last refused.
    pub(crate) fn allowed_channels(&self) -> usize {
        self.allowed_channels.load(Ordering::Relaxed)
    }

    /// Forgets a channel that the client closes.
    pub(crate) fn remove_channel(&self, id: ChannelId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<ChannelId>> {
        self.open_channels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handler {
    pub(super) fn new(pin: PublicKey, state: Arc<ConnectionState>) -> Self {
        let end = state.kill_switch.end_on_drop();
        Self {
            pin,
            state,
            incoming: IncomingData::default(),
            _end: end,
        }
    }
}

/// Refuses all other channels that the server tries to open, by dropping `reply`.
macro_rules! refuse {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        async fn $name(
            &mut self,
            _channel: Channel<Msg>,
            $($argument: $type,)*
            reply: ChannelOpenHandle,
            _session: &mut Session,
        ) -> Result<(), russh::Error> {
            drop(reply);
            Ok(())
        }
    )*};
}

impl client::Handler for Handler {
    type Error = russh::Error;

    /// The signature was verified by russh.
    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let fingerprint = match offered {
            PublicKeyOrCertificate::PublicKey { key, .. }
                if key.key_data() == self.pin.key_data() =>
            {
                return Ok(true);
            }
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                key.fingerprint(HashAlg::Sha256).to_string()
            }
            PublicKeyOrCertificate::Certificate(_) => "a certificate".to_owned(),
        };
        // The first key counts.
        drop(self.state.wrong_key.set(fingerprint));
        Ok(false)
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        _names: &Names,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        // Called again by every later key exchange, with the same string.
        drop(self.state.server_id.set(session.remote_sshid().to_vec()));
        Ok(())
    }

    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.state.lock().insert(id);
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        _id: ChannelId,
        _reason: ChannelOpenFailure,
        _description: &str,
        _language: &str,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.state
            .allowed_channels
            .store(self.state.lock().len(), Ordering::Relaxed);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.state.remove_channel(id);
        self.incoming.close(id);
        Ok(())
    }

    async fn data(
        &mut self,
        id: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.incoming.push(id, data, &self.state.kill_switch).await
    }

    async fn channel_eof(
        &mut self,
        id: ChannelId,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.incoming.end(id, &self.state.kill_switch).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _address: &str,
        _port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.incoming
            .open(&self.state.incoming, channel, reply)
            .await;
        Ok(())
    }

    refuse! {
        server_channel_open_forwarded_streamlocal(_path: &str);
        server_channel_open_agent_forward();
        server_channel_open_unknown();
        server_channel_open_session();
        server_channel_open_direct_tcpip(_a: &str, _p: u32, _oa: &str, _op: u32);
        server_channel_open_direct_streamlocal(_path: &str);
        server_channel_open_x11(_oa: &str, _op: u32);
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<russh::Error>,
    ) -> Result<(), russh::Error> {
        let (why, result) = match reason {
            DisconnectReason::ReceivedDisconnect(info) => (
                format!("the server disconnected: {}", escape(&info.message)),
                Ok(()),
            ),
            DisconnectReason::Error(error) => (error.to_string(), Err(error)),
        };
        self.state.set_end_reason(why);
        result
    }
}
