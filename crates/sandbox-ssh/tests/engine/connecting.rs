//! How sessions connect, and why they fail to.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    Access, ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, KeyPair, Result,
    SessionSource,
};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

use crate::support::contract::sh;
use crate::support::{self, InProcessSshd, stage};

const LONG: Duration = Duration::from_secs(60);

/// The same sandbox with other keys.
fn with_keys(access: &Access, host: &KeyPair, user: &KeyPair) -> Arc<Access> {
    support::access(
        host.public.clone(),
        user.private.clone(),
        access.endpoint.clone(),
    )
}

#[tokio::test]
async fn another_host_key_is_refused_at_once_and_explained() {
    let keys = support::daemon::Keys::new();
    let sshd = InProcessSshd::with_keys(&keys, |config| config);
    let access = with_keys(&sshd.access, &KeyPair::generate().unwrap(), &keys.user);
    let error = sshd
        .sessions()
        .session(access, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::HostKey);
    assert_eq!(
        sshd.connector.connections.load(Ordering::Relaxed),
        1,
        "there is no retry"
    );
    let text = error.to_string();
    assert!(
        text.contains("sbx-test") && text.contains("delete it"),
        "{text}"
    );
    assert!(
        text.contains(&keys.host.public.fingerprint().unwrap()),
        "{text}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn another_user_key_is_refused_at_once() {
    let keys = support::daemon::Keys::new();
    let sshd = InProcessSshd::with_keys(&keys, |config| config);
    let access = with_keys(&sshd.access, &keys.host, &KeyPair::generate().unwrap());
    let error = sshd
        .sessions()
        .session(access, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Auth, "{error}");
    assert_eq!(sshd.connector.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn wrong_keys_are_refused_with_openssh() {
    let keys = support::daemon::Keys::new();
    let Some(sshd) = support::openssh::start_with(&keys, &[]) else {
        return;
    };
    let wrong_host = with_keys(&sshd.access, &KeyPair::generate().unwrap(), &keys.user);
    let error = sshd
        .sessions()
        .session(wrong_host, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::HostKey, "{error}");
    let wrong_user = with_keys(&sshd.access, &keys.host, &KeyPair::generate().unwrap());
    let error = sshd
        .sessions()
        .session(wrong_user, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Auth, "{error}");
}

#[tokio::test]
async fn a_server_without_an_ed25519_host_key_is_explained() {
    let keys = support::daemon::Keys::new();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rsa");
    let generate = ["-q", "-t", "rsa", "-N", "", "-f", file.to_str().unwrap()];
    if !sandbox_testkit::peers::OPENSSH_SERVER.is_available() {
        return;
    }
    assert!(
        std::process::Command::new("ssh-keygen")
            .args(generate)
            .status()
            .unwrap()
            .success()
    );
    let host_key = format!("HostKey {}", file.display());
    let lines = [host_key.as_str(), "HostKeyAlgorithms rsa-sha2-512"];
    let Some(sshd) = support::openssh::start_with(&keys, &lines) else {
        return;
    };
    let error = sshd
        .sessions()
        .session(Arc::clone(&sshd.access), Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::HostKey, "{error}");
    assert!(error.to_string().contains("ed25519"), "{error}");
}

/// Fails in different ways before it connects.
#[derive(Debug)]
struct NotYet {
    inner: Arc<support::MemoryConnector>,
    attempts: AtomicUsize,
}

#[async_trait]
impl Connector for NotYet {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        match self.attempts.fetch_add(1, Ordering::Relaxed) {
            0..3 => Err(Error::connection(ConnectionStage::Dial, "refused", None)),
            // Reset before the banner, and after it.
            3 => Ok(Box::new(tokio::io::duplex(64).0)),
            4 => {
                let (near, mut far) = tokio::io::duplex(4096);
                tokio::spawn(async move { far.write_all(b"SSH-2.0-lost\r\n").await });
                Ok(Box::new(near))
            }
            _ => self.inner.connect(endpoint, deadline).await,
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_yet_is_retried() {
    let sshd = InProcessSshd::new();
    let connector = Arc::new(NotYet {
        inner: Arc::clone(&sshd.connector),
        attempts: AtomicUsize::new(0),
    });
    let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
    let session = support::session(&sessions, &sshd.access).await;
    assert_eq!(sh(&session, "echo up").await, "up\n");
    assert_eq!(connector.attempts.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn a_missing_server_is_an_error_by_the_deadline() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let keys = support::daemon::Keys::new();
    let access = support::access(keys.host.public, keys.user.private, Endpoint::Tcp(port));
    let sessions = SshSessions::new(Arc::new(TcpConnector), SshOptions::default());
    let error = sessions
        .session(access, Deadline::from_now(Duration::from_millis(300)))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Dial, "{error}");
    assert!(error.is_retryable());
}

/// Hands the far ends of its streams to the test.
#[derive(Debug)]
struct Mute(mpsc::UnboundedSender<DuplexStream>);

#[async_trait]
impl Connector for Mute {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        // The test may have ended.
        self.0.send(far).ok();
        Ok(Box::new(near))
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_and_its_stream_closed() {
    let (streams, mut far) = mpsc::unbounded_channel();
    let sessions = SshSessions::new(Arc::new(Mute(streams)), SshOptions::default());
    let keys = support::daemon::Keys::new();
    let access = support::access(
        keys.host.public,
        keys.user.private,
        Endpoint::Memory("mute".into()),
    );

    // A server that sends nothing, and one that sends only its identification: russh waits in its own
    // task.
    for greeting in [&b""[..], b"SSH-2.0-mute\r\n"] {
        let deadline = Deadline::from_now(Duration::from_millis(300));
        let connecting = sessions.session(Arc::clone(&access), deadline);
        let serving = async {
            let mut far = far.recv().await.unwrap();
            far.write_all(greeting).await.unwrap();
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
        };
        let (session, ()) = tokio::join!(connecting, serving);
        assert_eq!(stage(&session.unwrap_err()), ConnectionStage::Dial);
    }

    // Dropping the future does the same.
    let connecting = sessions.session(access, Deadline::from_now(LONG));
    let limited = tokio::time::timeout(Duration::from_millis(300), connecting);
    let serving = async {
        let mut far = far.recv().await.unwrap();
        far.write_all(b"SSH-2.0-mute\r\n").await.unwrap();
        far.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let (session, ()) = tokio::join!(limited, serving);
    assert!(session.is_err());
}
