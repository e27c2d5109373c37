//! How a session comes about, and how it does not.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    Access, ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, ExecRequest,
    KeyPair, Result, SessionSource,
};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use support::Ours;
use support::contract::sh;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;

const LONG: Duration = Duration::from_secs(60);

fn stage(error: &Error) -> ConnectionStage {
    match error {
        Error::Connection(error) => error.stage,
        other => panic!("not a connection error: {other:?}"),
    }
}

/// The same sandbox, seen with other keys.
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
    let ours = Ours::with_keys(&keys, |config| config);
    let access = with_keys(&ours.access, &KeyPair::generate().unwrap(), &keys.user);
    let error = ours
        .sessions()
        .session(access, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::HostKey);
    assert_eq!(
        ours.connector.connections.load(Ordering::Relaxed),
        1,
        "it is not tried again"
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
    let ours = Ours::with_keys(&keys, |config| config);
    let access = with_keys(&ours.access, &keys.host, &KeyPair::generate().unwrap());
    let error = ours
        .sessions()
        .session(access, Deadline::from_now(LONG))
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Auth, "{error}");
    assert_eq!(ours.connector.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn openssh_refuses_and_is_refused_alike() {
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
async fn a_server_without_our_kind_of_host_key_is_explained() {
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
    inner: Arc<support::Memory>,
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
                tokio::spawn(async move { far.write_all(b"SSH-2.0-gone\r\n").await });
                Ok(Box::new(near))
            }
            _ => self.inner.connect(endpoint, deadline).await,
        }
    }
}

#[tokio::test]
async fn a_server_that_does_not_listen_yet_is_waited_for() {
    let ours = Ours::new();
    let connector = Arc::new(NotYet {
        inner: Arc::clone(&ours.connector),
        attempts: AtomicUsize::new(0),
    });
    let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
    let session = support::session(&sessions, &ours.access).await;
    assert_eq!(sh(&session, "echo up").await, "up\n");
    assert_eq!(connector.attempts.load(Ordering::Relaxed), 6);
}

#[tokio::test]
async fn nothing_there_is_an_error_by_the_deadline() {
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
        // The test may be over.
        self.0.send(far).ok();
        Ok(Box::new(near))
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_and_its_stream_closed() {
    let (streams, mut far) = mpsc::unbounded_channel();
    let sessions = SshSessions::new(Arc::new(Mute(streams)), SshOptions::default());
    let keys = support::daemon::Keys::new();
    let access = support::access(
        keys.host.public,
        keys.user.private,
        Endpoint::Memory("mute".into()),
    );

    // It says nothing; and it says its name, and then nothing: russh waits in its own task.
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

#[tokio::test]
async fn connections_are_shared_and_used_again() {
    let ours = Ours::new();
    let mut options = SshOptions::default();
    options.max_connections = options.connections;
    let sessions = SshSessions::new(Arc::clone(&ours.connector) as _, options);
    for _ in 0..3 {
        let session = support::session(&sessions, &ours.access).await;
        for _ in 0..20 {
            sh(&session, "true").await;
        }
    }
    let status = sessions.status();
    assert_eq!(
        (
            status.len(),
            status[0].commands.handshakes,
            status[0].commands.busy
        ),
        (1, 1, 0)
    );

    let session = support::session(&sessions, &ours.access).await;
    let run = |_| session.output(ExecRequest::from_shell("sleep 0.05"), 100);
    for output in futures_util::future::join_all((0..64).map(run)).await {
        assert!(output.unwrap().status.success());
    }
    let connections = ours.connector.connections.load(Ordering::Relaxed);
    assert!(
        connections <= 4,
        "{connections} connections for 64 short commands"
    );
    for _ in 0..10 {
        let process = session
            .exec(ExecRequest::from_argv(["true"]))
            .await
            .unwrap();
        assert!(process.wait().await.unwrap().success());
    }
    assert!(
        sessions.status()[0].streams.handshakes <= 2,
        "{:?}",
        sessions.status()
    );
}

#[tokio::test]
async fn long_commands_are_not_in_each_others_way() {
    let ours = Ours::new();
    let session = ours.session().await;
    // More than the channels that are there without waiting.
    let run = |n: usize| session.output(ExecRequest::from_shell(format!("sleep 1; echo {n}")), 100);
    for (n, output) in futures_util::future::join_all((0..40).map(run))
        .await
        .into_iter()
        .enumerate()
    {
        assert_eq!(output.unwrap().stdout_lossy(), format!("{n}\n"));
    }
}

#[tokio::test]
async fn a_server_that_allows_few_sessions_serves_many_callers() {
    for sessions in [1, 2, 10] {
        let Some(sshd) = support::openssh::start(&[&format!("MaxSessions {sessions}")]) else {
            return;
        };
        let session = sshd.session().await;
        support::contract::many_callers_share(&session).await;
        support::contract::cancelled_calls_leak_no_channel(&session).await;
    }
}

/// Nor is one asked for more because a channel is opened ahead.
#[tokio::test]
async fn a_channel_ahead_keeps_to_what_the_server_allows() {
    for most in [1, 2] {
        let Some(sshd) = support::openssh::start(&[&format!("MaxSessions {most}")]) else {
            return;
        };
        let mut options = SshOptions::default();
        (options.connections, options.max_connections) = (1, 1);
        options.prewarm_latency = Some(Duration::ZERO);
        let sessions = SshSessions::new(Arc::new(TcpConnector), options);
        let session = support::session(&sessions, &sshd.access).await;
        for n in 0..10 {
            assert_eq!(sh(&session, &format!("echo {n}")).await, format!("{n}\n"));
        }
        support::contract::many_callers_share(&session).await;
        assert_eq!(sessions.status()[0].commands.connections, 1);
    }
}

/// Beyond so many that have not logged in yet, the server hangs up on newcomers.
#[tokio::test]
async fn a_server_that_lets_in_few_at_once_serves_many_callers() {
    for startups in ["1:100:1", "2:50:3"] {
        let Some(sshd) = support::openssh::start(&[&format!("MaxStartups {startups}")]) else {
            return;
        };
        let session = sshd.session().await;
        let streamed = (0..16).map(|n: u32| {
            let session = &session;
            async move {
                let process = session
                    .exec(ExecRequest::from_argv(["echo".to_owned(), n.to_string()]))
                    .await
                    .unwrap();
                assert_eq!(
                    process.output(100).await.unwrap().stdout_lossy(),
                    format!("{n}\n"),
                    "{startups}"
                );
            }
        });
        tokio::join!(
            futures_util::future::join_all(streamed),
            support::contract::many_callers_share(&session),
            support::contract::put(&session, "file", b"x"),
        );
    }
}

#[tokio::test]
async fn a_server_that_allows_no_session_is_explained() {
    let Some(sshd) = support::openssh::start(&["MaxSessions 0"]) else {
        return;
    };
    let error = sshd
        .session()
        .await
        .output(ExecRequest::from_argv(["true"]), 100)
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Channel);
    assert!(error.to_string().contains("MaxSessions"), "{error}");
}

#[tokio::test]
async fn eviction_ends_everything() {
    let ours = Ours::new();
    let sessions = ours.sessions();
    let session = support::session(&sessions, &ours.access).await;
    let mut process = session
        .exec(ExecRequest::from_shell("echo begun; sleep 60"))
        .await
        .unwrap();
    process.next().await.unwrap().unwrap();
    let sleeping = tokio::spawn({
        let session = Arc::clone(&session);
        async move {
            session
                .output(ExecRequest::from_shell("sleep 60"), 100)
                .await
        }
    });
    support::contract::put(&session, "file", b"x").await;
    while sessions.status()[0].commands.busy == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    sessions.evict(&ours.access.uid).await;
    assert!(process.wait().await.is_err());
    assert!(sleeping.await.unwrap().is_err());
    let error = session
        .output(ExecRequest::from_argv(["true"]), 100)
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Channel, "{error}");
    assert!(session.stat("file", true).await.is_err());
    assert!(sessions.status().is_empty());
    until_no_connection_is_left(&ours).await;
    // It can be had again, with new connections.
    let again = support::session(&sessions, &ours.access).await;
    assert_eq!(sh(&again, "echo on").await, "on\n");
}

async fn until_no_connection_is_left(ours: &Ours) {
    for _ in 0..500 {
        while ours.connector.served.lock().await.try_join_next().is_some() {}
        if ours.connector.served.lock().await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a connection is left at the server");
}

#[tokio::test]
async fn what_is_idle_is_closed_and_opened_again() {
    let ours = Ours::new();
    let mut options = SshOptions::default();
    options.idle_timeout = Duration::from_millis(100);
    let sessions = SshSessions::new(Arc::clone(&ours.connector) as _, options);
    let session = support::session(&sessions, &ours.access).await;
    for _ in 0..2 {
        sh(&session, "echo on").await;
        support::contract::put(&session, "file", b"x").await;
        assert!(
            session
                .exec(ExecRequest::from_argv(["true"]))
                .await
                .unwrap()
                .wait()
                .await
                .unwrap()
                .success()
        );
        // What is in use is not idle, however quiet it is.
        assert_eq!(sh(&session, "sleep 0.5; echo still").await, "still\n");
        until_no_connection_is_left(&ours).await;
    }
    drop(session);
    for _ in 0..500 {
        if sessions.status().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("an instance is remembered for ever");
}

#[tokio::test]
async fn a_connection_has_a_life() {
    let ours = Ours::new();
    let mut options = SshOptions::default();
    options.max_channels = 10;
    options.idle_timeout = Duration::from_millis(40);
    let sessions = SshSessions::new(Arc::clone(&ours.connector) as _, options);
    let session = support::session(&sessions, &ours.access).await;
    for _ in 0..20 {
        let run = |_| session.output(ExecRequest::from_shell("sleep 0.01"), 100);
        for output in futures_util::future::join_all((0..5).map(run)).await {
            assert!(output.unwrap().status.success());
        }
    }
    let handshakes = sessions.status()[0].commands.handshakes;
    assert!((3..=20).contains(&handshakes), "{handshakes}");
}

#[tokio::test]
async fn dropping_the_sessions_closes_the_connections() {
    let ours = Ours::new();
    let session = ours.session().await;
    sh(&session, "true").await;
    support::contract::put(&session, "file", b"x").await;
    drop(session);
    until_no_connection_is_left(&ours).await;
}
