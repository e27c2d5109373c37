//! Ports inside that the client serves.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use russh::server::{Auth, Handler, Session as ServerSession};
use sandbox_core::{
    ByteStream, ConnectionStage, Connector, Deadline, Endpoint, KeyPair, PortListener, Result,
    Session,
};
use sandbox_ssh::{SshOptions, SshSessions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{self, InProcessSshd, access, session, stage};

const LONG: Duration = Duration::from_secs(30);

async fn accept(listener: &mut PortListener) -> Box<dyn ByteStream> {
    let accepted = timeout(LONG, listener.accept()).await.unwrap();
    accepted.unwrap().unwrap()
}

async fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap()
}

/// Each direction carries data and ends on its own; what is cut off is a reset.
async fn check_streams(session: &Arc<dyn Session>) {
    let mut listener = session.listen(None).await.unwrap();
    let port = listener.port();
    assert_ne!(port, 0);

    let mut inside = connect(port).await;
    let mut here = accept(&mut listener).await;
    inside.write_all(b"question").await.unwrap();
    inside.shutdown().await.unwrap();
    let mut question = String::new();
    here.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    let answer = vec![7; 3 << 20];
    let (sent, received) = (answer.clone(), async {
        let mut received = Vec::new();
        inside.read_to_end(&mut received).await.map(|_| received)
    });
    let sending = async {
        here.write_all(&sent).await.unwrap();
        here.shutdown().await.unwrap();
    };
    let ((), received) = timeout(LONG, async { tokio::join!(sending, received) })
        .await
        .unwrap();
    assert!(received.unwrap() == answer);
    drop(here);

    // Dropping the stream ends the connection inside.
    let mut inside = connect(port).await;
    drop(accept(&mut listener).await);
    let read = timeout(LONG, inside.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn connections_from_inside_are_served_here() {
    let sshd = InProcessSshd::new();
    check_streams(&sshd.session().await).await;
}

#[tokio::test]
async fn openssh_can_do_it_too() {
    let Some(sshd) = support::openssh::start(&[]) else {
        return;
    };
    check_streams(&sshd.session().await).await;
}

#[tokio::test]
async fn one_client_at_a_time_serves_the_port_which_stays_the_same() {
    let sshd = InProcessSshd::new();
    let first = sshd.session().await;
    let second = sshd.session().await;
    let listener = first.listen(None).await.unwrap();
    let port = listener.port();
    for asked in [None, Some(port)] {
        let error = second.listen(asked).await.unwrap_err();
        assert_eq!(stage(&error), ConnectionStage::Channel, "{error}");
        assert!(error.to_string().contains("another client may"), "{error}");
    }

    // Without a client nothing is served, and no process inside can take the port.
    drop(listener);
    let mut listener = loop {
        let mut inside = connect(port).await;
        let read = timeout(LONG, inside.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        assert!(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err());
        // The server notices the end of the first client in a moment.
        if let Ok(listener) = second.listen(None).await {
            break listener;
        }
    };
    assert_eq!(listener.port(), port);
    let mut inside = connect(port).await;
    let mut here = accept(&mut listener).await;
    inside.write_all(b"x").await.unwrap();
    assert_eq!(here.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_port_that_a_program_inside_has_taken_is_refused() {
    let sshd = InProcessSshd::new();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = sshd.session().await.listen(Some(port)).await.unwrap_err();
    assert!(
        error.to_string().contains("a program has taken the port"),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_connection_ends_the_listener_and_its_streams() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut listener = session.listen(None).await.unwrap();
    let mut inside = connect(listener.port()).await;
    let mut here = accept(&mut listener).await;
    inside.write_all(b"x").await.unwrap();
    assert_eq!(here.read_u8().await.unwrap(), b'x');
    sshd.connector.cut().await;
    assert!(
        timeout(LONG, listener.accept())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
    assert!(timeout(LONG, here.read_u8()).await.unwrap().is_err());
    let read = timeout(LONG, inside.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn evicting_the_sandbox_ends_the_listener() {
    use sandbox_core::SessionSource;
    let sshd = InProcessSshd::new();
    let sessions = sshd.sessions();
    let mut listener = session(&sessions, &sshd.access)
        .await
        .listen(None)
        .await
        .unwrap();
    sessions.evict(&sshd.access.uid).await;
    assert!(
        timeout(LONG, listener.accept())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );
}

/// Raises the limit of descriptors to its maximum: both ends of each connection are in this process.
fn raise_descriptor_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// More than are served at once: the others wait, and none is refused.
#[tokio::test]
async fn many_connections_from_inside_are_all_served_in_the_end() {
    raise_descriptor_limit();
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut listener = session.listen(None).await.unwrap();
    let port = listener.port();
    let serving = tokio::spawn(async move {
        loop {
            let mut here = accept(&mut listener).await;
            tokio::spawn(async move {
                let byte = here.read_u8().await.unwrap();
                here.write_all(&[byte]).await.unwrap();
                here.shutdown().await.unwrap();
                // What is cut off before the other side has read it may be lost.
                here.read_u8().await.unwrap_err();
            });
        }
    });
    let mut inside = Vec::new();
    for _ in 0..1300 {
        inside.push(connect(port).await);
    }
    for stream in &mut inside {
        stream.write_all(b"x").await.unwrap();
    }
    for stream in &mut inside {
        assert_eq!(
            timeout(LONG, stream.read_u8()).await.unwrap().unwrap(),
            b'x'
        );
        stream.shutdown().await.unwrap();
    }
    serving.abort();
}

/// A server that opens channels as it likes.
#[derive(Clone)]
struct Flooding {
    opened: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    /// Without being asked.
    is_unasked: bool,
}

/// How many channels it opens.
const FLOOD: usize = 1200;

impl Flooding {
    fn flood(&self, session: &ServerSession) {
        for _ in 0..FLOOD {
            let (handle, this) = (session.handle(), self.clone());
            tokio::spawn(async move {
                let opening = handle.channel_open_forwarded_tcpip("localhost", 1, "127.0.0.1", 2);
                let counter = match opening.await {
                    Ok(channel) => {
                        // Kept open.
                        std::mem::forget(channel);
                        &this.opened
                    }
                    Err(_) => &this.refused,
                };
                counter.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    async fn wait(&self) -> (usize, usize) {
        let all = async {
            loop {
                let counts = (
                    self.opened.load(Ordering::Relaxed),
                    self.refused.load(Ordering::Relaxed),
                );
                if counts.0 + counts.1 == FLOOD {
                    return counts;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(LONG, all).await.unwrap()
    }
}

impl Handler for Flooding {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn auth_succeeded(&mut self, session: &mut ServerSession) -> Result<(), Self::Error> {
        if self.is_unasked {
            self.flood(session);
        }
        Ok(())
    }

    async fn tcpip_forward(
        &mut self,
        _: &str,
        port: &mut u32,
        session: &mut ServerSession,
    ) -> Result<bool, Self::Error> {
        *port = 1;
        self.flood(session);
        Ok(true)
    }
}

struct FloodingConnector {
    handler: Flooding,
    config: Arc<russh::server::Config>,
}

impl std::fmt::Debug for FloodingConnector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FloodingConnector")
    }
}

#[async_trait]
impl Connector for FloodingConnector {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (handler, config) = (self.handler.clone(), Arc::clone(&self.config));
        tokio::spawn(async move {
            if let Ok(session) = russh::server::run_stream(config, far, handler).await {
                session.await.ok();
            }
        });
        Ok(Box::new(near))
    }
}

async fn flooded(is_unasked: bool) -> (Flooding, Arc<dyn Session>) {
    let (host, user) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let config = russh::server::Config {
        keys: vec![russh::keys::PrivateKey::from_openssh(host.private.expose()).unwrap()],
        ..Default::default()
    };
    let handler = Flooding {
        opened: Arc::default(),
        refused: Arc::default(),
        is_unasked,
    };
    let connector = FloodingConnector {
        handler: handler.clone(),
        config: Arc::new(config),
    };
    let sessions = SshSessions::new(Arc::new(connector), SshOptions::default());
    let access = access(
        host.public,
        user.private,
        Endpoint::Memory("flooding".into()),
    );
    (handler, session(&sessions, &access).await)
}

#[tokio::test]
async fn a_server_that_opens_too_many_channels_gets_no_more() {
    let (server, session) = flooded(false).await;
    let mut listener = session.listen(None).await.unwrap();
    assert_eq!(server.wait().await, (1024, FLOOD - 1024));
    // One that is closed makes room for another.
    drop(accept(&mut listener).await);
    accept(&mut listener).await;
}

#[tokio::test]
async fn channels_without_a_request_are_refused() {
    let (server, _session) = flooded(true).await;
    assert_eq!(server.wait().await, (0, FLOOD));
}

/// So many that the SSH connection is replaced, while one from inside stays open and others are always on their way.
#[tokio::test]
async fn connections_are_served_while_the_ssh_connection_is_replaced() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut listener = session.listen(None).await.unwrap();
    let port = listener.port();
    let serving = tokio::spawn(async move {
        loop {
            let mut here = accept(&mut listener).await;
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(&mut here);
                drop(tokio::io::copy(&mut read, &mut write).await);
            });
        }
    });
    let exchange = |stream: TcpStream| async move {
        let mut stream = stream;
        stream.write_all(b"x").await.unwrap();
        let byte = timeout(LONG, stream.read_u8()).await.unwrap();
        assert_eq!(byte.unwrap(), b'x');
        stream
    };
    let mut open = exchange(connect(port).await).await;
    let opened = || sshd.connector.connections.load(Ordering::Relaxed);
    let before = opened();
    let callers = (0..8).map(|_| async {
        for _ in 0..600 {
            drop(exchange(connect(port).await).await);
        }
    });
    futures_util::future::join_all(callers).await;
    assert_eq!(opened() - before, 2, "one for each 2,000 connections");
    open = exchange(open).await;
    drop(open);
    serving.abort();
}
