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

/// More than what is kept of it; the window is 2 MiB.
const MOST: u64 = 48 << 20;

async fn flooded() -> (Arc<Flooding>, Arc<dyn Session>) {
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

/// Waits until the peer gets rid of no more.
async fn until_it_stands(connector: &Flooding) -> u64 {
    let mut before = 0;
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = connector.flooded.load(Ordering::Relaxed);
        if now > 0 && now == before {
            return now;
        }
        before = now;
    }
    panic!("the flood goes on: {before} bytes so far");
}

#[tokio::test]
async fn what_nobody_reads_is_not_kept() {
    let (connector, session) = flooded().await;
    let before = resident();
    let mut process = session.exec(ExecRequest::from_argv(["x"])).await.unwrap();
    assert!(matches!(
        process.next().await,
        Some(Ok(ExecEvent::Stdout(_)))
    ));
    let taken = until_it_stands(&connector).await;
    let grown = resident().saturating_sub(before);
    assert!(
        taken < MOST && grown < MOST,
        "{taken} bytes were taken, {} MiB more in use",
        grown >> 20
    );
    // A signal cannot go out by a way that is blocked, and does not wait for ever either.
    process
        .control()
        .signal(sandbox_core::Signal::Term)
        .await
        .unwrap();
    drop(process);
    // The connection goes with it: it is of no more use.
    let ended = async {
        while Arc::strong_count(&connector.flooded) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended)
        .await
        .expect("the flood is held up for ever");
}

#[tokio::test]
async fn what_is_collected_is_cut_and_timed_out() {
    let (connector, session) = flooded().await;
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
    assert!(grown < MOST, "{} MiB more", grown >> 20);
}
