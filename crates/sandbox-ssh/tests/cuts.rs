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
use sandbox_testkit::faults::{Fault, Plan, Way};
use support::Ours;
use support::contract::sh;
use support::counted::{counted, lengths, positions, runs};
use support::server::Server;

/// Rounds at once.
const AT_ONCE: usize = 8;

/// Fails the first connection as planned; the others are good.
async fn a_round(server: &Server, name: &str, plan: Plan, streamed: bool) -> bool {
    let (_, sessions) = server.faulty([plan, Plan::good()]);
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
    (way, fault): (Way, Fault),
    streamed: bool,
    positions: impl Iterator<Item = u64> + Clone,
) {
    let name = |position| format!("run-{way:?}-{fault:?}-{streamed}-{position}");
    let round = |position| async move {
        let plan = Plan::good().after(position, way, fault).torn(position);
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
    let positions = positions(&lengths(&server, Way::In).await, 61, 1);
    every_cut(&server, (Way::In, Fault::Cut), false, positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte_to_the_server() {
    let server = Server::ours(&Ours::new());
    let positions = positions(&lengths(&server, Way::Out).await, 61, 1);
    every_cut(&server, (Way::Out, Fault::Cut), false, positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_any_byte_from_the_server() {
    let server = Server::ours(&Ours::new());
    let positions = positions(&lengths(&server, Way::In).await, 127, 7);
    every_cut(&server, (Way::In, Fault::End), false, positions).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_of_a_streamed_command() {
    let server = Server::ours(&Ours::new());
    for way in [Way::In, Way::Out] {
        let positions = positions(&lengths(&server, way).await, 211, 7);
        every_cut(&server, (way, Fault::Cut), true, positions).await;
    }
}

/// The commands alone: some versions let nobody in for a while whose logins broke off.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_with_openssh() {
    let Some(sshd) = support::openssh::start(&["MaxStartups 100"]) else {
        return;
    };
    let server = Server::another(&sshd);
    for (way, step) in [(Way::In, 11), (Way::Out, 13)] {
        let lengths = lengths(&server, way).await;
        let positions = (lengths.session..lengths.command + 40).step_by(step);
        for streamed in [false, true] {
            every_cut(&server, (way, Fault::Cut), streamed, positions.clone()).await;
        }
    }
}
