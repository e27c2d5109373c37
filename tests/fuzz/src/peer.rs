//! A server that speaks SSH as it should and lies in what it says.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use russh::keys::PrivateKey;
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, SshId};
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, KeyPair};

use crate::exec;
use crate::input::Input;
use crate::sftp::Sftp;

/// What the current case is steered by, and what the server said in it.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) input: Input,
    pub(crate) said: exec::Said,
    /// It need not say how a command ended.
    pub(crate) may_stay_silent: bool,
}

/// One server; its connections are made by the client as it likes.
#[derive(Debug)]
pub(crate) struct Peer {
    config: Arc<Config>,
    pub(crate) case: Arc<Mutex<Case>>,
}

impl Peer {
    /// One that says to be ours, or not.
    pub(crate) fn new(keys: &KeyPair, ours: bool) -> Self {
        let id = match ours {
            true => format!(
                "{}{}",
                sandbox_core::protocol::SERVER_ID,
                sandbox_core::protocol::VERSION
            ),
            false => "SSH-2.0-hostile".to_owned(),
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
        // More than anything that is said, so that neither end waits for the other.
        let (near, far) = tokio::io::duplex(32 << 20);
        let connection = Connection {
            case: Arc::clone(&self.case),
            sftp: HashMap::new(),
        };
        let config = Arc::clone(&self.config);
        tokio::spawn(async move {
            if let Ok(running) = russh::server::run_stream(config, far, connection).await {
                // However it ends, the client has to live with it.
                running.await.ok();
            }
        });
        Ok(Box::new(near))
    }
}

struct Connection {
    case: Arc<Mutex<Case>>,
    sftp: HashMap<ChannelId, Sftp>,
}

impl Connection {
    fn case(&self) -> std::sync::MutexGuard<'_, Case> {
        self.case.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn play(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        exec::play(&mut self.case(), channel, session)
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
        self.play(channel, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name != "sftp" {
            return self.play(channel, session);
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
        let mut case = self.case.lock().unwrap_or_else(PoisonError::into_inner);
        for packet in sftp.take(data) {
            match sftp.answer(&packet, &mut case.input) {
                Some(answer) => session.data(channel, answer)?,
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
