//! How connections are shared, limited and closed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sandbox_core::{ConnectionStage, ExecRequest, SessionSource};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};

use crate::support::contract::sh;
use crate::support::{self, InProcessSshd, stage};

#[tokio::test]
async fn connections_are_shared_and_reused() {
    let sshd = InProcessSshd::new();
    let mut options = SshOptions::default();
    options.max_connections = options.connections;
    let sessions = SshSessions::new(Arc::clone(&sshd.connector) as _, options);
    for _ in 0..3 {
        let session = support::session(&sessions, &sshd.access).await;
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

    let session = support::session(&sessions, &sshd.access).await;
    let run = |_| session.output(ExecRequest::from_shell("sleep 0.05"), 100);
    for output in futures_util::future::join_all((0..64).map(run)).await {
        assert!(output.unwrap().status.success());
    }
    let connections = sshd.connector.connections.load(Ordering::Relaxed);
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
async fn long_commands_do_not_delay_each_other() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    // More than the channels that are available without waiting.
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

/// Prewarming does not exceed the server's limit either.
#[tokio::test]
async fn prewarming_respects_the_limit_of_the_server() {
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

/// The server hangs up on new connections while too many have not logged in yet.
#[tokio::test]
async fn a_server_with_few_startups_serves_many_callers() {
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
    let sshd = InProcessSshd::new();
    let sessions = sshd.sessions();
    let session = support::session(&sessions, &sshd.access).await;
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
    sessions.evict(&sshd.access.uid).await;
    assert!(process.wait().await.is_err());
    assert!(sleeping.await.unwrap().is_err());
    let error = session
        .output(ExecRequest::from_argv(["true"]), 100)
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Channel, "{error}");
    assert!(session.stat(&"file".into(), true).await.is_err());
    assert!(sessions.status().is_empty());
    wait_until_disconnected(&sshd).await;
    // A new session gets new connections.
    let session = support::session(&sessions, &sshd.access).await;
    assert_eq!(sh(&session, "echo on").await, "on\n");
}

async fn wait_until_disconnected(sshd: &InProcessSshd) {
    for _ in 0..500 {
        while sshd.connector.served.lock().await.try_join_next().is_some() {}
        if sshd.connector.served.lock().await.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the server still has a connection");
}

#[tokio::test]
async fn idle_connections_are_closed_and_reopened() {
    let sshd = InProcessSshd::new();
    let mut options = SshOptions::default();
    options.idle_timeout = Duration::from_millis(100);
    let sessions = SshSessions::new(Arc::clone(&sshd.connector) as _, options);
    let session = support::session(&sessions, &sshd.access).await;
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
        // A connection in use is not idle, however quiet it is.
        assert_eq!(sh(&session, "sleep 0.5; echo still").await, "still\n");
        wait_until_disconnected(&sshd).await;
    }
    drop(session);
    for _ in 0..500 {
        if sessions.status().is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("an instance is never forgotten");
}

#[tokio::test]
async fn a_connection_has_a_limited_lifetime() {
    let sshd = InProcessSshd::new();
    let mut options = SshOptions::default();
    options.max_channels = 10;
    options.idle_timeout = Duration::from_millis(40);
    let sessions = SshSessions::new(Arc::clone(&sshd.connector) as _, options);
    let session = support::session(&sessions, &sshd.access).await;
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
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    sh(&session, "true").await;
    support::contract::put(&session, "file", b"x").await;
    drop(session);
    wait_until_disconnected(&sshd).await;
}
