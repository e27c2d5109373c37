//! A russh client in the same process as the server.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, Config, Handle, Msg};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, ChannelReadHalf, SshId};
use sandbox_core::{KeyPair, Notice, protocol};
use sandbox_sshd::{Server, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};

/// Timeout of everything that is expected to happen at once.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// Accepts any host key.
pub(crate) struct AcceptAnyHostKey;

impl client::Handler for AcceptAnyHostKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

pub(crate) type Client = Handle<AcceptAnyHostKey>;

/// A server in this process, with the key of its user.
pub(crate) struct TestSandbox {
    pub(crate) server: Server,
    pub(crate) user: KeyPair,
    pub(crate) home: tempfile::TempDir,
}

/// The output and the end of a command.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    pub(crate) notices: Vec<Notice>,
    pub(crate) code: Option<u32>,
    pub(crate) signal: Option<String>,
    pub(crate) refused: bool,
}

impl TestSandbox {
    pub(crate) fn new(configure: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (host, user) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let path = std::env::var_os("PATH").unwrap();
        let config =
            ServerConfig::new(host.private, vec![user.public.as_str().into()], home.path())
                .with_env([("PATH".into(), path)]);
        Self {
            server: Server::new(configure(config)).unwrap(),
            user,
            home,
        }
    }

    /// Connects over a pipe with a capacity of `bytes` in each direction.
    pub(crate) async fn connect(&self, bytes: usize) -> Client {
        self.connect_as(Config::default(), bytes).await
    }

    /// Connects as the SDK's own client does.
    pub(crate) async fn connect_as_sdk(&self) -> Client {
        self.connect_as_sdk_with(AcceptAnyHostKey).await
    }

    /// As [`connect_as_sdk`](Self::connect_as_sdk), with other callbacks.
    pub(crate) async fn connect_as_sdk_with<H>(&self, handler: H) -> Handle<H>
    where
        H: client::Handler<Error = russh::Error> + Send + 'static,
    {
        let config = Config {
            client_id: SshId::Standard(format!("{}0.1.0", protocol::CLIENT_ID).into()),
            ..Config::default()
        };
        let stream = self.open_stream(64 << 10);
        login_with(config, stream, &self.user, handler)
            .await
            .unwrap()
    }

    pub(crate) async fn connect_as(&self, config: Config, bytes: usize) -> Client {
        let stream = self.open_stream(bytes);
        login_as(config, stream, &self.user).await.unwrap()
    }

    fn open_stream(&self, bytes: usize) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(bytes);
        let server = self.server.clone();
        tokio::spawn(async move { server.serve_stream(far).await });
        near
    }
}

/// Logs in over a stream. Returns `None` if the key is refused.
pub(crate) async fn login(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    user: &KeyPair,
) -> Option<Client> {
    login_as(Config::default(), stream, user).await
}

async fn login_as(
    config: Config,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    user: &KeyPair,
) -> Option<Client> {
    login_with(config, stream, user, AcceptAnyHostKey).await
}

async fn login_with<H>(
    config: Config,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    user: &KeyPair,
    handler: H,
) -> Option<Handle<H>>
where
    H: client::Handler<Error = russh::Error> + Send + 'static,
{
    let mut client = client::connect_stream(Arc::new(config), stream, handler)
        .await
        .unwrap();
    let key = PrivateKey::from_openssh(user.private.expose()).unwrap();
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    client
        .authenticate_publickey("me", key)
        .await
        .unwrap()
        .success()
        .then_some(client)
}

/// Opens a session channel and sets variables.
pub(crate) async fn open(client: &Client, env: &[(&str, &str)]) -> Channel<Msg> {
    let channel = client.channel_open_session().await.unwrap();
    for (name, value) in env {
        channel.set_env(false, *name, *value).await.unwrap();
    }
    channel
}

pub(crate) async fn exec(client: &Client, line: impl Into<Vec<u8>>) -> Ended {
    exec_with(client, &[], line).await
}

pub(crate) async fn exec_with(
    client: &Client,
    env: &[(&str, &str)],
    line: impl Into<Vec<u8>>,
) -> Ended {
    let channel = open(client, env).await;
    channel.exec(true, line).await.unwrap();
    collect(channel).await
}

pub(crate) async fn subsystem(client: &Client, env: &[(&str, &str)], name: &str) -> Ended {
    let channel = open(client, env).await;
    channel.request_subsystem(true, name).await.unwrap();
    collect(channel).await
}

/// Reads a channel to its end.
pub(crate) async fn collect(channel: Channel<Msg>) -> Ended {
    collect_half(channel.split().0).await
}

/// Reads the reading half of a channel to its end.
pub(crate) async fn collect_half(mut channel: ChannelReadHalf) -> Ended {
    let mut ended = Ended::default();
    let reading = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => ended.stdout.extend_from_slice(&data),
                ChannelMsg::ExtendedData {
                    data,
                    ext: protocol::NOTICE_DATA,
                } => ended.notices.push(serde_json::from_slice(&data).unwrap()),
                ChannelMsg::ExtendedData { data, .. } => {
                    ended.stderr.push_str(&String::from_utf8_lossy(&data))
                }
                ChannelMsg::ExitStatus { exit_status } => ended.code = Some(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    ended.signal = Some(format!("{signal_name:?}"))
                }
                ChannelMsg::Failure => {
                    ended.refused = true;
                    break;
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("the channel did not end");
    ended
}
