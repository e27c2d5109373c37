//! Channels that are opened before they are needed, and closed by the server after use. A program of its own, because it
//! counts log events: whether anybody wants those is remembered for the whole process.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sandbox_core::{ExecRequest, SessionSource};
use sandbox_ssh::{SshOptions, SshSessions};
use support::InProcessSshd;
use support::contract::{CAP, sh};
use support::event_counter::EventCounter;

/// russh keeps memory for every channel that the client closes.
#[tokio::test]
async fn the_server_closes_the_channels_of_ended_commands() {
    let (closed, _counting) = EventCounter::start("closing a channel");
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let run = |_| session.output(ExecRequest::from_argv(["true"]), CAP);
    for _ in 0..10 {
        for output in futures_util::future::join_all((0..4).map(run)).await {
            assert!(output.unwrap().status.success());
        }
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
    }
    assert_eq!(closed.load(Ordering::Relaxed), 0);
    drop(
        session
            .exec(ExecRequest::from_argv(["sleep", "60"]))
            .await
            .unwrap(),
    );
    for _ in 0..500 {
        if closed.load(Ordering::Relaxed) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the channel of a dropped command was not closed");
}

/// Sessions that prewarm channels however short the round trip is.
fn prewarming_sessions(sshd: &InProcessSshd) -> SshSessions {
    let mut options = SshOptions::default();
    options.prewarm_latency = Some(Duration::ZERO);
    SshSessions::new(Arc::clone(&sshd.connector) as _, options)
}

async fn wait_until_prewarmed(sshd: &InProcessSshd, sessions: &SshSessions, channels: usize) {
    for _ in 0..5000 {
        let commands = sessions.status()[0].commands;
        if (
            commands.busy,
            commands.prewarmed,
            sshd.server.status().channels,
        ) == (0, channels, channels)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{:?} {:?}", sessions.status(), sshd.server.status());
}

#[tokio::test]
async fn a_channel_is_prewarmed_for_the_next_command() {
    let (taken, _counting) = EventCounter::start("prewarmed channel taken");
    let sshd = InProcessSshd::new();
    let sessions = prewarming_sessions(&sshd);
    let session = support::session(&sessions, &sshd.access).await;
    for _ in 0..3 {
        assert_eq!(sh(&session, "echo hi").await, "hi\n");
    }
    for round in 1..=5 {
        wait_until_prewarmed(&sshd, &sessions, 1).await;
        let before = taken.load(Ordering::Relaxed);
        assert_eq!(sh(&session, "echo $((6 * 7))").await, "42\n");
        assert_eq!(taken.load(Ordering::Relaxed), before + 1, "round {round}");
    }
    support::contract::many_callers_share(&session).await;
    support::contract::cancelled_calls_leak_no_channel(&session).await;
    sessions.evict(&sshd.access.uid).await;
    for _ in 0..5000 {
        if sshd.server.status().channels == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{:?}", sshd.server.status());
}

#[tokio::test]
async fn a_lost_prewarmed_channel_is_not_used() {
    let sshd = InProcessSshd::new();
    let sessions = prewarming_sessions(&sshd);
    let session = support::session(&sessions, &sshd.access).await;
    for _ in 0..3 {
        sh(&session, "true").await;
    }
    for _ in 0..3 {
        wait_until_prewarmed(&sshd, &sessions, 1).await;
        sshd.connector.cut().await;
        // The loss is noticed before the next command, which gets another connection.
        wait_until_prewarmed(&sshd, &sessions, 0).await;
        for _ in 0..3 {
            assert_eq!(sh(&session, "echo on").await, "on\n");
        }
    }
}
