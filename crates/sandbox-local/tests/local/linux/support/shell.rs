//! Commands in a sandbox, over SSH.

use std::sync::Arc;
use std::time::Duration;

use russh::client;
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use sandbox_core::{Access, Connector, Deadline};
use sandbox_local::UnixConnector;

use super::trial::Result;

/// The result of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<u32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// One SSH connection.
pub(crate) struct Shell {
    session: client::Handle<PinnedHostKey>,
}

/// Accepts exactly one host key.
struct PinnedHostKey(String);

impl client::Handler for PinnedHostKey {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> std::result::Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        Ok(key.to_openssh().is_ok_and(|key| key.starts_with(&self.0)))
    }
}

impl Shell {
    pub(crate) async fn open(access: &Access) -> Result<Self> {
        let stream = UnixConnector
            .connect(
                &access.endpoint,
                Deadline::from_now(Duration::from_secs(10)),
            )
            .await?;
        let pinned = PinnedHostKey(access.host_key.as_str().to_owned());
        let mut session =
            client::connect_stream(Arc::new(client::Config::default()), stream, pinned).await?;
        let key = PrivateKey::from_openssh(access.client_key.expose())?;
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let authenticated = session.authenticate_publickey(&access.user, key).await?;
        if authenticated.success() {
            Ok(Self { session })
        } else {
            Err("the key was refused".into())
        }
    }

    pub(crate) async fn run(&self, command: &str) -> Result<CommandOutput> {
        let channel = self.channel().await?;
        channel.exec(true, command).await?;
        read_channel(channel).await
    }

    pub(crate) async fn channel(&self) -> Result<russh::Channel<client::Msg>> {
        Ok(self.session.channel_open_session().await?)
    }
}

/// Reads a channel until it is closed.
pub(crate) async fn read_channel(
    mut channel: russh::Channel<client::Msg>,
) -> Result<CommandOutput> {
    let mut code = None;
    let mut stdout = Vec::new();
    let mut stderr = Vec::new();
    while let Some(message) = channel.wait().await {
        match message {
            russh::ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
            russh::ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
            russh::ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
            _ => {}
        }
    }
    Ok(CommandOutput {
        code,
        stdout: String::from_utf8_lossy(&stdout).into(),
        stderr: String::from_utf8_lossy(&stderr).into(),
    })
}
