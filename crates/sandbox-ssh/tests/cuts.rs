//! Connections that are cut at every byte of a command: the right result or an honest error, never
//! an exit code that did not come, and never a second run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod support;

use futures_util::StreamExt;
use sandbox_core::{CommandCause, Error, ExitStatus};
use sandbox_testkit::faults::{Direction, FaultPlan, StreamFault};
use support::Ours;
use support::contract::sh;
use support::counted::{counted, lengths, positions, runs};
use support::server::Server;

/// Rounds at once.
const AT_ONCE: usize = 8;

/// Fails the first connection as planned; the others are good.
async fn a_round(server: &Server, name: &str, plan: FaultPlan, streamed: bool) -> bool {
    let (_, sessions) = server.faulty([plan, FaultPlan::new()]);
    // What was lost before a session was there is tried again.
    let session = support::session(&sessions, &server.access).await;
    let told = match counted(&session, name, streamed).await {
        Ok(output) => {
            assert_eq!(output.status, ExitStatus::Code(7), "{plan:?}");
            assert_eq!(
                output.stdout_lossy(),
                if streamed { "typed\n" } else { "\n" },
                "{plan:?}"
            );
            assert_eq!(output.stderr_lossy(), "err\n", "{plan:?}");
            assert_eq!(runs(&server.home, name), 1, "{plan:?}");
            true
        }
        Err(error) => {
            let honest = matches!(
                error,
                Error::Command {
                    cause: CommandCause::Lost,
                    ..
                } | Error::Connection(_)
            );
            assert!(honest, "{plan:?}: {error:?}");
            false
        }
    };
    assert_eq!(
        sh(&session, "echo on").await,
        "on\n",
        "the next one gets another connection"
    );
    assert!(runs(&server.home, name) <= 1, "{plan:?}: it ran twice");
    told
}

/// Cuts at each of these positions. Each command notes its runs.
async fn every_cut(
    server: &Server,
    (direction, fault): (Direction, StreamFault),
    streamed: bool,
    positions: impl Iterator<Item = u64> + Clone,
) {
    let name = |position| format!("run-{direction:?}-{fault:?}-{streamed}-{position}");
    let round = |position| async move {
        let plan = FaultPlan::new()
            .fail_after(position, direction, fault)
            .with_short_transfers(position);
        a_round(server, &name(position), plan, streamed).await
    };
    let rounds: Vec<bool> = futures_util::stream::iter(positions.clone())
        .map(round)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let told = rounds.iter().filter(|told| **told).count();
    assert!(
        told > 0 && told < rounds.len(),
        "{told} of {} were told",
        rounds.len()
    );
    for position in positions {
        assert!(
            runs(&server.home, &name(position)) <= 1,
            "it ran again, later"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte_from_the_server() {
    let server = Server::ours(&Ours::new());
    let positions = positions(&lengths(&server, Direction::Read).await, 61, 1);
    every_cut(
        &server,
        (Direction::Read, StreamFault::Reset),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte_to_the_server() {
    let server = Server::ours(&Ours::new());
    let positions = positions(&lengths(&server, Direction::Write).await, 61, 1);
    every_cut(
        &server,
        (Direction::Write, StreamFault::Reset),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_any_byte_from_the_server() {
    let server = Server::ours(&Ours::new());
    let positions = positions(&lengths(&server, Direction::Read).await, 127, 7);
    every_cut(
        &server,
        (Direction::Read, StreamFault::Eof),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_of_a_streamed_command() {
    let server = Server::ours(&Ours::new());
    for direction in [Direction::Read, Direction::Write] {
        let positions = positions(&lengths(&server, direction).await, 211, 7);
        every_cut(&server, (direction, StreamFault::Reset), true, positions).await;
    }
}

/// The commands alone: some versions let nobody in for a while whose logins broke off.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_with_openssh() {
    let Some(sshd) = support::openssh::start(&["MaxStartups 100"]) else {
        return;
    };
    let server = Server::another(&sshd);
    for (direction, step) in [(Direction::Read, 11), (Direction::Write, 13)] {
        let lengths = lengths(&server, direction).await;
        let positions = (lengths.session..lengths.command + 40).step_by(step);
        for streamed in [false, true] {
            every_cut(
                &server,
                (direction, StreamFault::Reset),
                streamed,
                positions.clone(),
            )
            .await;
        }
    }
}
