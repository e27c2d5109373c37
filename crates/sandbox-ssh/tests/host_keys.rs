//! Host keys: learned once where nobody can know them before, and where a way leads to another
//! server, that way is left.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, HostKeyProbe, Result,
    SessionSource,
};
use sandbox_ssh::{SshHostKeyProbe, SshOptions, SshSessions, TcpConnector};
use support::Ours;
use support::contract::sh;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Duration = Duration::from_secs(60);

fn stage(error: &Error) -> ConnectionStage {
    match error {
        Error::Connection(error) => error.stage,
        other => panic!("not a connection error: {other:?}"),
    }
}

/// Two ways to one server, of which the first leads to another.
#[derive(Debug)]
struct TwoWays {
    wrong: Arc<support::Memory>,
    right: Option<Arc<support::Memory>>,
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
async fn what_answers_with_another_key_is_left_for_another_way() {
    let (ours, other) = (Ours::new(), Ours::new());
    for right in [Some(Arc::clone(&ours.connector)), None] {
        let wrong = Arc::clone(&other.connector);
        let connector = Arc::new(TwoWays {
            wrong,
            right,
            astray: AtomicUsize::new(0),
        });
        let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
        let session = sessions
            .session(Arc::clone(&ours.access), Deadline::from_now(LONG))
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
        "nobody was asked twice"
    );
}

/// A way at whose end nobody is yet.
#[derive(Debug)]
struct Slow {
    way: Arc<support::Memory>,
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
            _ => self.way.connect(endpoint, deadline).await,
        }
    }

    fn report_wrong_server(&self, _: &Endpoint) -> bool {
        self.astray.fetch_add(1, Ordering::Relaxed);
        true
    }
}

#[tokio::test]
async fn waiting_for_a_server_leads_nobody_astray() {
    let ours = Ours::new();
    let connector = Arc::new(Slow {
        way: Arc::clone(&ours.connector),
        tried: AtomicUsize::new(0),
        astray: AtomicUsize::new(0),
    });
    let mut options = SshOptions::default();
    options.connect_timeout = Duration::from_secs(2);
    let sessions = SshSessions::new(Arc::clone(&connector) as _, options);
    let session = sessions
        .session(Arc::clone(&ours.access), Deadline::from_now(LONG))
        .await
        .unwrap();
    assert_eq!(sh(&session, "echo there").await, "there\n");
    assert!(connector.tried.load(Ordering::Relaxed) > 1);
    assert_eq!(connector.astray.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_host_key_is_learned_without_logging_in() {
    let keys = support::daemon::Keys::new();
    let ours = Ours::with_keys(&keys, |config| config);
    let learn = async |deadline| {
        let stream = ours
            .connector
            .connect(&ours.access.endpoint, deadline)
            .await?;
        SshHostKeyProbe::new().host_key(stream, deadline).await
    };
    assert_eq!(
        learn(Deadline::from_now(LONG)).await.unwrap(),
        keys.host.public
    );
    // Its end of the stream is closed then, and nothing goes on by itself.
    while ours
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
async fn what_is_no_ssh_server_tells_no_key() {
    for said in [
        &b""[..],
        b"SSH-2.0-gone\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-1.5-old\r\n",
    ] {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(said).await.unwrap();
        drop(far);
        let error = SshHostKeyProbe::new()
            .host_key(Box::new(near), Deadline::from_now(LONG))
            .await
            .unwrap_err();
        assert_eq!(stage(&error), ConnectionStage::Dial, "{said:?}: {error}");
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
