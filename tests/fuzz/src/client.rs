//! A hostile client: any bytes as SFTP requests, over an authenticated channel of sandbox-sshd.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use russh::ChannelMsg;
use russh::client::{self, Handle};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use sandbox_core::KeyPair;
use sandbox_sshd::{Server, ServerConfig};

use crate::home::SECRET;
use crate::input::Input;
use crate::requests::{self, Frames};

/// A session that takes longer to end, on the real clock, does not end.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// After this time the client closes its channel, even if responses are outstanding.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest response: the longest data, or a hundred long names.
const MAX_RESPONSE: usize = 512 << 10;
/// SSH_FXP_STATUS, SSH_FXP_VERSION, SSH_FXP_INIT.
const STATUS: u8 = 101;
const VERSION: u8 = 2;
const INIT: u8 = 1;

/// The server with one connection to it, which all cases use.
pub(crate) struct Client {
    server: Server,
    connection: Handle<AcceptAnyKey>,
}

/// Accepts any host key.
struct AcceptAnyKey;

impl client::Handler for AcceptAnyKey {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

impl Client {
    pub(crate) async fn new(home: &Path) -> Self {
        let keys = KeyPair::generate().unwrap();
        let authorized = vec![keys.public.as_str().to_owned()];
        let host = KeyPair::generate().unwrap();
        let server = Server::new(ServerConfig::new(host.private, authorized, home)).unwrap();
        let (near, far) = tokio::io::duplex(256 << 10);
        let serving = server.clone();
        tokio::spawn(async move { serving.serve_stream(far).await });
        let config = client::Config {
            inactivity_timeout: None,
            ..client::Config::default()
        };
        let mut connection = client::connect_stream(Arc::new(config), near, AcceptAnyKey)
            .await
            .unwrap();
        let key = Arc::new(PrivateKey::from_openssh(keys.private.expose()).unwrap());
        let key = PrivateKeyWithHashAlg::new(key, None);
        assert!(
            connection
                .authenticate_publickey("user", key)
                .await
                .unwrap()
                .success()
        );
        Self { server, connection }
    }

    /// Runs one case to its end.
    pub(crate) async fn run(&self, bytes: &[u8]) {
        let case = self.session(requests::request_stream(&mut Input::new(bytes)));
        let result = tokio::time::timeout(SESSION_TIMEOUT, case).await;
        // The channel is closed. The server must end what the client has requested.
        let ended = async {
            while self.server.status().channels > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(END_TIMEOUT, ended)
            .await
            .expect("a session ends with its client");
        if let Ok((sent, received)) = result {
            check(&sent, &received);
        }
    }

    /// Sends all pieces on a channel, and reads until the server closes the channel.
    async fn session(&self, pieces: Vec<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
        let channel = self
            .connection
            .channel_open_session()
            .await
            .expect("the connection is open");
        let (mut read, write) = channel.split();
        let close_on_drop = CloseOnDrop(Some(write));
        let write = close_on_drop.0.as_ref().unwrap();
        write.request_subsystem(true, "sftp").await.unwrap();
        let sending = async {
            for piece in &pieces {
                // The server may have closed the channel.
                write.data_bytes(piece.clone()).await.ok();
            }
            write.eof().await.ok();
        };
        let reading = async {
            let mut received = Vec::new();
            while let Some(message) = read.wait().await {
                match message {
                    ChannelMsg::Data { data } => received.extend_from_slice(&data),
                    ChannelMsg::ExitStatus { exit_status } => {
                        assert_eq!(exit_status, 0, "a session failed");
                    }
                    ChannelMsg::ExtendedData { data, .. } => {
                        panic!("{}", String::from_utf8_lossy(&data))
                    }
                    ChannelMsg::Close => break,
                    _ => {}
                }
            }
            received
        };
        let ((), received) = tokio::join!(sending, reading);
        (pieces.concat(), received)
    }
}

/// Closes the channel when it is dropped, which russh does not do.
struct CloseOnDrop(Option<russh::ChannelWriteHalf<client::Msg>>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(write) = self.0.take() {
            tokio::spawn(async move { write.close().await });
        }
    }
}

/// Asserts that every complete request has one response, in order, and that no response contains
/// the content of another user's file.
fn check(sent: &[u8], received: &[u8]) {
    let requests: Vec<_> = Frames::of_requests(sent).collect();
    let mut responses = Frames::of_responses(received);
    for request in &requests {
        let response = responses.next().expect("every request has a response");
        assert!(
            response.len() <= MAX_RESPONSE,
            "a response of {} bytes",
            response.len()
        );
        let kind = response.first();
        let id = response.get(1..5);
        if request.first() == Some(&INIT) && kind == Some(&VERSION) {
            continue;
        }
        assert!(
            id == request.get(1..5) || (kind == Some(&STATUS) && id == Some(&[0; 4])),
            "a response to something else: {request:?} {kind:?} {id:?}"
        );
    }
    assert!(
        responses.next().is_none() && responses.is_at_end(),
        "more responses than requests"
    );
    let is_leaked = received
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes());
    assert!(
        !is_leaked || !crate::home::is_confined(),
        "a file of another user was read"
    );
}
