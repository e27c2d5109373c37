//! Peers that stop responding, with a paused clock.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    ByteStream, CommandCause, ConnectionStage, Connector, Deadline, Endpoint, Error, ExecRequest,
    Result, SessionSource,
};
use sandbox_ssh::{SshOptions, SshSessions};
use sandbox_testkit::faults::{Direction, StreamFault};
use support::InProcessSshd;
use support::contract::sh;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

fn is_lost(error: &Error) -> bool {
    matches!(
        error,
        Error::Command {
            cause: CommandCause::Lost,
            ..
        }
    )
}

/// Runs a command until its connection is lost; returns when that was noticed.
fn spawn_sleep(
    session: &Arc<dyn sandbox_core::Session>,
) -> tokio::task::JoinHandle<(Error, Instant)> {
    let session = Arc::clone(session);
    tokio::spawn(async move {
        let error = session
            .output(ExecRequest::from_shell("echo >> begun; sleep 1000"), 100)
            .await
            .unwrap_err();
        (error, Instant::now())
    })
}

async fn wait_until_begun(sshd: &InProcessSshd) {
    while !sshd.home.path().join("begun").exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_answers_no_request_is_replaced() {
    let sshd = InProcessSshd::new();
    let (connector, sessions) = sshd.faulty([]);
    let session = support::session(&sessions, &sshd.access).await;
    let sleeping = spawn_sleep(&session);
    wait_until_begun(&sshd).await;
    connector.switches()[0].fail(Direction::Read, StreamFault::Stall);
    let begun = Instant::now();
    // The command was not sent yet, so it runs on another connection.
    assert_eq!(sh(&session, "echo x >> ran; echo on").await, "on\n");
    assert_eq!(std::fs::read(sshd.home.path().join("ran")).unwrap(), b"x\n");
    assert!(connector.switches().len() >= 2);
    let (error, at) = sleeping.await.unwrap();
    assert!(is_lost(&error), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("sent nothing for 10s"), "{cause}");
    let noticed = at - begun;
    // Twice `silence_timeout`, and a second in which arrived output is read.
    assert!((10..=12).contains(&noticed.as_secs()), "{noticed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vanished_peer_is_noticed_without_requests() {
    for fault in [StreamFault::Stall, StreamFault::Discard] {
        let sshd = InProcessSshd::new();
        let (connector, sessions) = sshd.faulty([]);
        let session = support::session(&sessions, &sshd.access).await;
        let sleeping = spawn_sleep(&session);
        wait_until_begun(&sshd).await;
        let begun = Instant::now();
        connector.switches()[0].fail(Direction::Read, StreamFault::Stall);
        connector.switches()[0].fail(Direction::Write, fault);
        let (error, at) = sleeping.await.unwrap();
        assert!(is_lost(&error), "{error}");
        // By the keepalive, or by the limit of a write if the peer accepts no data.
        let limit = if fault == StreamFault::Discard {
            62
        } else {
            150
        };
        let noticed = at - begun;
        assert!(noticed <= Duration::from_secs(limit), "{noticed:?}");
    }
}

/// A slow server that still sends data is kept, because it serves other channels well.
#[tokio::test(start_paused = true)]
async fn a_server_that_sends_only_other_data_is_kept() {
    let keys = support::daemon::Keys::new();
    let connector = Arc::new(Deaf(keys.host.private.clone()));
    let sessions = SshSessions::new(connector as _, SshOptions::default());
    let access = support::access(
        keys.host.public,
        keys.user.private,
        Endpoint::Memory("deaf".into()),
    );
    let session = support::session(&sessions, &access).await;
    let begun = Instant::now();
    let error = session
        .output(ExecRequest::from_argv(["true"]), 100)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Connection(error) if error.stage == ConnectionStage::Channel),
        "{error}"
    );
    assert!(
        error.to_string().contains("did not answer within 15s"),
        "{error}"
    );
    assert!(error.is_retryable());
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!(sessions.status()[0].commands.connections, 1);
}

/// A server that accepts every login and never answers when a channel is opened.
struct Deaf(sandbox_core::PrivateKey);

struct Handler(Vec<russh::server::ChannelOpenHandle>);

impl std::fmt::Debug for Deaf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Deaf")
    }
}

impl russh::server::Handler for Handler {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<russh::server::Auth, Self::Error> {
        Ok(russh::server::Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: russh::Channel<russh::server::Msg>,
        reply: russh::server::ChannelOpenHandle,
        _: &mut russh::server::Session,
    ) -> Result<(), Self::Error> {
        self.0.push(reply);
        Ok(())
    }
}

#[async_trait]
impl Connector for Deaf {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let config = Arc::new(russh::server::Config {
            keys: vec![russh::keys::PrivateKey::from_openssh(self.0.expose()).unwrap()],
            inactivity_timeout: None,
            ..russh::server::Config::default()
        });
        tokio::spawn(async move {
            if let Ok(running) = russh::server::run_stream(config, far, Handler(Vec::new())).await {
                // The client hangs up.
                running.await.ok();
            }
        });
        Ok(Box::new(near))
    }
}

/// Repeats these bytes instead of the identification that SSH requires.
#[derive(Debug)]
struct Flood(&'static [u8], &'static [u8]);

#[async_trait]
impl Connector for Flood {
    async fn connect(&self, _: &Endpoint, _: Deadline) -> Result<Box<dyn ByteStream>> {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let first = self.0;
        let repeated = self.1;
        tokio::spawn(async move {
            if far.write_all(first).await.is_ok() {
                while far.write_all(repeated).await.is_ok() {}
            }
        });
        Ok(Box::new(near))
    }
}

#[tokio::test]
async fn a_peer_that_floods_instead_of_speaking_ssh_is_given_up() {
    let before = support::contract::resident();
    for (first, repeated) in [
        (&b""[..], &b"hello there\r\n"[..]),
        (b"", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        (
            b"SSH-2.0-flood\r\n",
            b"\x00\x00\x00\x0c\x0a\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ),
        (b"SSH-2.0-flood\r\n", b"\xff\xfe\xfd\xfc\xfb"),
    ] {
        let sessions = SshSessions::new(Arc::new(Flood(first, repeated)), SshOptions::default());
        let keys = support::daemon::Keys::new();
        let access = support::access(
            keys.host.public,
            keys.user.private,
            Endpoint::Memory("flood".into()),
        );
        let deadline = Deadline::from_now(Duration::from_millis(700));
        let error = sessions.session(access, deadline).await.unwrap_err();
        assert!(matches!(&error, Error::Connection(_)), "{error:?}");
    }
    let grown = support::contract::resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}
