//! A peer that sends more than the window of a channel allows, and does not stop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sandbox_core::{CommandCause, Endpoint, Error, ExecEvent, ExecRequest, Session};
use sandbox_ssh::{SshOptions, SshSessions};
use support::contract::resident;
use support::daemon::Keys;
use support::raw::Flooding;

/// More than the bytes that the client keeps; the window is 2 MiB.
const MAX_KEPT: u64 = 48 << 20;

async fn connect_to_flood() -> (Arc<Flooding>, Arc<dyn Session>) {
    let keys = Keys::new();
    let connector = Arc::new(Flooding::new(&keys.host));
    let access = support::access(
        keys.host.public,
        keys.user.private,
        Endpoint::Memory("flood".into()),
    );
    let sessions = SshSessions::new(Arc::clone(&connector) as _, SshOptions::default());
    (connector, support::session(&sessions, &access).await)
}

/// Waits until the peer can send no more.
async fn wait_until_blocked(connector: &Flooding) -> u64 {
    let mut before = 0;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = connector.flooded.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return now;
        }
        before = now;
    }
    panic!("the flood does not stop: {before} bytes so far");
}

#[tokio::test]
async fn unread_output_is_not_buffered_without_limit() {
    let (connector, session) = connect_to_flood().await;
    let before = resident();
    let mut process = session.exec(ExecRequest::from_argv(["x"])).await.unwrap();
    assert!(matches!(
        process.next().await,
        Some(Ok(ExecEvent::Stdout(_)))
    ));
    let taken = wait_until_blocked(&connector).await;
    let grown = resident().saturating_sub(before);
    assert!(
        taken < MAX_KEPT && grown < MAX_KEPT,
        "{taken} bytes were taken, {} MiB more in use",
        grown >> 20
    );
    // A signal cannot be sent over a blocked connection, but the call returns.
    process
        .control()
        .signal(sandbox_core::Signal::Term)
        .await
        .unwrap();
    drop(process);
    // The connection is closed with the process, because it is unusable.
    let ended = async {
        while Arc::strong_count(&connector.flooded) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .expect("the connection is never closed");
}

#[tokio::test]
async fn collected_output_is_capped_and_times_out() {
    let (connector, session) = connect_to_flood().await;
    let before = resident();
    let mut request = ExecRequest::from_argv(["x"]);
    request.timeout = Some(Duration::from_secs(1));
    let error = session.output(request, 1000).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::TimedOut { .. },
                ..
            }
        ),
        "{error}"
    );
    assert!(
        connector.flooded.load(Ordering::Relaxed) > 4 << 20,
        "it flooded more than two windows"
    );
    let grown = resident().saturating_sub(before);
    assert!(grown < MAX_KEPT, "{} MiB more", grown >> 20);
}
