//! A server that speaks SSH correctly and sends false content.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use russh::keys::PrivateKey;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, SshId};
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, KeyPair, protocol};

use crate::exec_reply::{self, SentMessages};
use crate::guest_frames;
use crate::input::Input;
use crate::sftp::Sftp;
use crate::tree_frames;

/// The input of the current case, and the messages that the server sent in it.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) input: Input,
    pub(crate) sent: SentMessages,
    /// Whether the server may leave out the end of a command.
    pub(crate) may_stay_silent: bool,
}

/// One server, to which the client opens as many connections as it needs.
#[derive(Debug)]
pub(crate) struct Peer {
    config: Arc<Config>,
    pub(crate) case: Arc<Mutex<Case>>,
}

impl Peer {
    /// A server that identifies itself as sandbox-sshd or as another one.
    pub(crate) fn new(keys: &KeyPair, is_sandbox_sshd: bool) -> Self {
        let id = if is_sandbox_sshd {
            format!("{}{}", protocol::SERVER_ID, protocol::VERSION)
        } else {
            "SSH-2.0-hostile".to_owned()
        };
        let config = Config {
            server_id: SshId::Standard(Cow::Owned(id)),
            keys: vec![PrivateKey::from_openssh(keys.private.expose()).unwrap()],
            inactivity_timeout: None,
            ..Config::default()
        };
        Self {
            config: Arc::new(config),
            case: Arc::default(),
        }
    }
}

#[async_trait]
impl Connector for Peer {
    async fn connect(
        &self,
        _: &Endpoint,
        _: Deadline,
    ) -> sandbox_core::Result<Box<dyn ByteStream>> {
        // The buffer is larger than the messages of any case, so neither end waits for the other.
        let (near, far) = tokio::io::duplex(32 << 20);
        let connection = Connection {
            case: Arc::clone(&self.case),
            sftp: HashMap::new(),
        };
        let config = Arc::clone(&self.config);
        tokio::spawn(async move {
            if let Ok(running) = russh::server::run_stream(config, far, connection).await {
                // The client has to handle any end.
                running.await.ok();
            }
        });
        Ok(Box::new(near))
    }
}

fn lock(case: &Mutex<Case>) -> MutexGuard<'_, Case> {
    case.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Connection {
    case: Arc<Mutex<Case>>,
    sftp: HashMap<ChannelId, Sftp>,
}

impl Connection {
    fn reply(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let mut case = lock(&self.case);
        let Case {
            input,
            sent,
            may_stay_silent,
        } = &mut *case;
        exec_reply::send_messages(input, sent, *may_stay_silent, channel, session)
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        _: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.reject(ChannelOpenFailure::ConnectFailed).await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.reply(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == protocol::TREE_SUBSYSTEM {
            session.channel_success(channel)?;
            let stream = tree_frames::encode_stream(&mut lock(&self.case).input);
            session.data(channel, stream)?;
            session.eof(channel)?;
            return session.close(channel);
        }
        if name == protocol::GUEST_SUBSYSTEM {
            session.channel_success(channel)?;
            let stream = guest_frames::encode_stream(&mut lock(&self.case).input);
            session.data(channel, stream)?;
            session.eof(channel)?;
            return session.close(channel);
        }
        if name != "sftp" {
            return self.reply(channel, session);
        }
        self.sftp.insert(channel, Sftp::default());
        session.channel_success(channel)
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(sftp) = self.sftp.get_mut(&channel) else {
            return Ok(());
        };
        let mut case = lock(&self.case);
        for packet in sftp.complete_requests(data) {
            match sftp.respond(&packet, &mut case.input) {
                Some(response) => session.data(channel, response)?,
                None => session.close(channel)?,
            }
        }
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.sftp.remove(&channel);
        Ok(())
    }
}
