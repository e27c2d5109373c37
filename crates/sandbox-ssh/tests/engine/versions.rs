//! A sandbox-sshd of another version.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use russh::SshId;
use russh::keys::PrivateKey;
use russh::server::{Auth, Config, Handler, VerifiedPublicKey};
use sandbox_core::guest::{GuestRequest, PauseState, SandboxRequest};
use sandbox_core::{
    ByteStream, ClaimRequest, Connector, Deadline, Direction, Endpoint, Error, KeyPair, Result,
    Session, SessionSource, protocol,
};
use sandbox_ssh::{SshOptions, SshSessions};

use crate::support;
use crate::support::daemon::Keys;

/// Accepts every login, knows no subsystem, and identifies itself as a version of sandbox-sshd.
struct Named {
    config: Arc<Config>,
    connections: AtomicUsize,
}

struct Open;

impl Handler for Open {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: russh::Channel<russh::server::Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: russh::ChannelId,
        _: &str,
        session: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Named")
    }
}

#[async_trait]
impl Connector for Named {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let (near, far) = tokio::io::duplex(64 << 10);
        let config = Arc::clone(&self.config);
        tokio::spawn(async move {
            if let Ok(running) = russh::server::run_stream(config, far, Open).await {
                // The client hangs up.
                running.await.ok();
            }
        });
        Ok(Box::new(near))
    }
}

async fn open(version: &str) -> (Result<Arc<dyn Session>>, usize) {
    let keys = Keys::new();
    let config = Config {
        server_id: SshId::Standard(Cow::Owned(format!("{}{version}", protocol::SERVER_ID))),
        keys: vec![PrivateKey::from_openssh(keys.host.private.expose()).unwrap()],
        ..Config::default()
    };
    let connector = Arc::new(Named {
        config: Arc::new(config),
        connections: AtomicUsize::new(0),
    });
    let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
    let access = support::access(
        keys.host.public,
        keys.user.private,
        Endpoint::Memory("another version".into()),
    );
    let session = sessions
        .session(access, Deadline::from_now(Duration::from_secs(20)))
        .await;
    (session, connector.connections.load(Ordering::Relaxed))
}

#[tokio::test]
async fn a_compatible_version_is_accepted_and_another_one_explained() {
    open(protocol::VERSION).await.0.unwrap();
    for version in ["999.0.0", "odd", ""] {
        let (result, connections) = open(version).await;
        let error = result.err().unwrap();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(version) && text.contains(protocol::VERSION),
            "{text}"
        );
        assert!(text.contains("SANDBOX_SERVER_IMAGE"), "{text}");
        assert!(!error.is_retryable());
        assert_eq!(connections, 1, "there is no retry");
    }
}

#[tokio::test]
async fn a_server_from_before_claims_is_explained() {
    let session = open(protocol::VERSION).await.0.unwrap();
    let request = ClaimRequest::new(KeyPair::generate().unwrap().public);
    let error = session.claim(request).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "the sandbox does not support being claimed: its server is of a version that cannot be claimed; fill the pool \
         with this version of the SDK (sandbox pool run) and its server's image"
    );
}

/// Its refusal arrives after the operation was sent.
#[tokio::test]
async fn a_server_from_before_the_guest_protocol_is_explained() {
    const TEXT: &str = "the server does not support shared processes, watches and pauses: it has no such channel; \
                        create the sandbox anew with this version, and with sandbox-sshd as its server";
    let session = open(protocol::VERSION).await.0.unwrap();
    let mut channel = session.open_guest().await.unwrap();
    let request = GuestRequest::Sandbox(SandboxRequest::State);
    channel.request(&request).await.unwrap();
    // More than the server grants window for.
    let content = vec![0; 64 << 10];
    let sending = async { while channel.send_content(&content).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(20), sending)
        .await
        .unwrap();
    for _ in 0..2 {
        let error = channel.reply::<PauseState>().await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert_eq!(error.to_string(), TEXT);
    }
    // From now on nothing is opened for it.
    let error = session.open_guest().await.unwrap_err();
    assert_eq!(error.to_string(), TEXT);
}

#[tokio::test]
async fn a_server_from_before_trees_is_explained_before_anything_is_sent() {
    let session = open(protocol::VERSION).await.0.unwrap();
    for _ in 0..2 {
        let error = session.open_tree(Direction::Upload).await.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
    }
}
