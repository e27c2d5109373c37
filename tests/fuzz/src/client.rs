//! A hostile client: any bytes as requests for files, over an authenticated channel of our server.

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

/// Of a real clock: what takes longer is taken to wait for ever.
const FOR_EVER: Duration = Duration::from_secs(20);
/// After so long the client goes away, whatever is on its way.
const PATIENCE: Duration = Duration::from_secs(3);
/// No answer is longer: the longest data, or a hundred long names.
const LONGEST_ANSWER: usize = 512 << 10;
/// SSH_FXP_STATUS, SSH_FXP_VERSION, SSH_FXP_INIT.
const STATUS: u8 = 101;
const VERSION: u8 = 2;
const INIT: u8 = 1;

/// Our server with one connection to it, for as long as there are cases.
pub(crate) struct Client {
    server: Server,
    connection: Handle<Anybody>,
}

/// Nothing of the server's is doubted here.
struct Anybody;

impl client::Handler for Anybody {
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
        let mut connection = client::connect_stream(Arc::new(config), near, Anybody)
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
        let case = self.session(requests::stream(&mut Input::new(bytes)));
        let came = tokio::time::timeout(PATIENCE, case).await;
        // It has gone by now. What it asked for may not go on.
        let ended = async {
            while self.server.status().channels > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(FOR_EVER, ended)
            .await
            .expect("a session ends with its client");
        if let Ok((sent, received)) = came {
            check(&sent, &received);
        }
    }

    /// Sends all of it on a channel, and reads until the server closes that.
    async fn session(&self, pieces: Vec<Vec<u8>>) -> (Vec<u8>, Vec<u8>) {
        let channel = self
            .connection
            .channel_open_session()
            .await
            .expect("the connection is there");
        let (mut read, write) = channel.split();
        let closing = Closing(Some(write));
        let write = closing.0.as_ref().unwrap();
        write.request_subsystem(true, "sftp").await.unwrap();
        let sending = async {
            for piece in &pieces {
                // It may be closed by then.
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
                        assert_eq!(exit_status, 0, "a session broke down");
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

/// Closes the channel, for russh says nothing when one is dropped.
struct Closing(Option<russh::ChannelWriteHalf<client::Msg>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(write) = self.0.take() {
            tokio::spawn(async move { write.close().await });
        }
    }
}

/// Every request that came whole has one answer, in its turn, and none tells what only others may
/// read.
fn check(sent: &[u8], received: &[u8]) {
    let asked: Vec<_> = Frames::requests(sent).collect();
    let mut answers = Frames::answers(received);
    for request in &asked {
        let answer = answers.next().expect("every request is answered");
        assert!(
            answer.len() <= LONGEST_ANSWER,
            "an answer of {} bytes",
            answer.len()
        );
        let (kind, id) = (answer.first(), answer.get(1..5));
        if request.first() == Some(&INIT) && kind == Some(&VERSION) {
            continue;
        }
        assert!(
            id == request.get(1..5) || (kind == Some(&STATUS) && id == Some(&[0; 4])),
            "an answer to something else: {request:?} {kind:?} {id:?}"
        );
    }
    assert!(
        answers.next().is_none() && answers.is_used_up(),
        "more was said than asked for"
    );
    let told = received
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes());
    assert!(
        !told || !crate::home::is_confined(),
        "a file of another user was read"
    );
}
