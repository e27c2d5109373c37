//! Host keys: probed once where they are unknown, and a route to another server is abandoned.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, HostKeyProbe, Result,
    SessionSource,
};
use sandbox_ssh::{SshHostKeyProbe, SshOptions, SshSessions, TcpConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::contract::sh;
use crate::support::{self, InProcessSshd};

const LONG: Duration = Duration::from_secs(60);

fn stage(error: &Error) -> ConnectionStage {
    match error {
        Error::Connection(error) => error.stage,
        other => panic!("not a connection error: {other:?}"),
    }
}

/// Two routes to one server. The first leads to another server.
#[derive(Debug)]
struct TwoWays {
    wrong: Arc<support::MemoryConnector>,
    right: Option<Arc<support::MemoryConnector>>,
    astray: AtomicUsize,
}

#[async_trait]
impl Connector for TwoWays {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        match (&self.right, self.astray.load(Ordering::Relaxed)) {
            (Some(right), 1..) => right.connect(endpoint, deadline).await,
            _ => self.wrong.connect(endpoint, deadline).await,
        }
    }

    fn report_wrong_server(&self, _: &Endpoint) -> bool {
        self.astray.fetch_add(1, Ordering::Relaxed) == 0 && self.right.is_some()
    }
}

#[tokio::test]
async fn a_route_to_another_host_key_is_abandoned() {
    let sshd = InProcessSshd::new();
    let other = InProcessSshd::new();
    for right in [Some(Arc::clone(&sshd.connector)), None] {
        let wrong = Arc::clone(&other.connector);
        let connector = Arc::new(TwoWays {
            wrong,
            right,
            astray: AtomicUsize::new(0),
        });
        let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
        let session = sessions
            .session(Arc::clone(&sshd.access), Deadline::from_now(LONG))
            .await;
        assert_eq!(connector.astray.load(Ordering::Relaxed), 1);
        match session {
            Ok(session) => assert_eq!(sh(&session, "echo right").await, "right\n"),
            Err(error) => {
                assert!(connector.right.is_none(), "{error}");
                assert_eq!(stage(&error), ConnectionStage::HostKey);
            }
        }
    }
    assert_eq!(
        other.connector.connections.load(Ordering::Relaxed),
        2,
        "no server was dialled twice"
    );
}

/// A route to a server that does not listen yet.
#[derive(Debug)]
struct Slow {
    inner: Arc<support::MemoryConnector>,
    tried: AtomicUsize,
    astray: AtomicUsize,
}

#[async_trait]
impl Connector for Slow {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        match self.tried.fetch_add(1, Ordering::Relaxed) {
            0 => std::future::pending().await,
            _ => self.inner.connect(endpoint, deadline).await,
        }
    }

    fn report_wrong_server(&self, _: &Endpoint) -> bool {
        self.astray.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[tokio::test]
async fn waiting_for_a_server_does_not_abandon_its_route() {
    let sshd = InProcessSshd::new();
    let connector = Arc::new(Slow {
        inner: Arc::clone(&sshd.connector),
        tried: AtomicUsize::new(0),
        astray: AtomicUsize::new(0),
    });
    let mut options = SshOptions::default();
    options.connect_timeout = Duration::from_secs(2);
    let sessions = SshSessions::new(Arc::clone(&connector) as _, options);
    let session = sessions
        .session(Arc::clone(&sshd.access), Deadline::from_now(LONG))
        .await
        .unwrap();
    assert_eq!(sh(&session, "echo there").await, "there\n");
    assert!(connector.tried.load(Ordering::Relaxed) > 1);
    assert_eq!(connector.astray.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_host_key_is_probed_without_logging_in() {
    let keys = support::daemon::Keys::new();
    let sshd = InProcessSshd::with_keys(&keys, |config| config);
    let learn = async |deadline| {
        let stream = sshd
            .connector
            .connect(&sshd.access.endpoint, deadline)
            .await?;
        SshHostKeyProbe::new().host_key(stream, deadline).await
    };
    assert_eq!(
        learn(Deadline::from_now(LONG)).await.unwrap(),
        keys.host.public
    );
    // The stream is closed then, and no task continues.
    while sshd
        .connector
        .served
        .lock()
        .await
        .join_next()
        .await
        .is_some()
    {}

    if let Some(sshd) = support::openssh::start_with(&keys, &[]) {
        let deadline = Deadline::from_now(LONG);
        let stream = TcpConnector
            .connect(&sshd.access.endpoint, deadline)
            .await
            .unwrap();
        assert_eq!(
            SshHostKeyProbe::new()
                .host_key(stream, deadline)
                .await
                .unwrap(),
            keys.host.public
        );
    }
}

#[tokio::test]
async fn a_peer_without_ssh_has_no_host_key() {
    for greeting in [
        &b""[..],
        b"SSH-2.0-lost\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
    ] {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(greeting).await.unwrap();
        drop(far);
        let error = SshHostKeyProbe::new()
            .host_key(Box::new(near), Deadline::from_now(LONG))
            .await
            .unwrap_err();
        assert_eq!(
            stage(&error),
            ConnectionStage::Dial,
            "{greeting:?}: {error}"
        );
    }
    let (near, mut far) = tokio::io::duplex(4096);
    let probe = SshHostKeyProbe::new();
    let mute = probe.host_key(
        Box::new(near),
        Deadline::from_now(Duration::from_millis(50)),
    );
    assert!(matches!(mute.await, Err(Error::Timeout { .. })));
    far.read_to_end(&mut Vec::new()).await.unwrap();
}
