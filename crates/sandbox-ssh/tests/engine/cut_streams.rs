//! Connections that are cut at every byte of a command: the right result or an error, never an exit
//! code that was not received, and never a second run.

use futures_util::StreamExt;
use sandbox_core::{CommandCause, Error, ExitStatus};
use sandbox_testkit::faults::{Direction, FaultPlan, StreamFault};

use crate::support::contract::sh;
use crate::support::faulty_server::FaultyServer;
use crate::support::run_counter::{count_runs, cut_positions, measure_lengths, run_counted};
use crate::support::{self, InProcessSshd};

/// Rounds at once.
const AT_ONCE: usize = 8;

/// Runs a command while the first connection fails as planned; whether the command succeeded.
async fn run_once(server: &FaultyServer, name: &str, plan: FaultPlan, streamed: bool) -> bool {
    let (_, sessions) = server.faulty([plan, FaultPlan::new()]);
    // A connection that is lost before the session exists is retried.
    let session = support::session(&sessions, &server.access).await;
    let succeeded = match run_counted(&session, name, streamed).await {
        Ok(output) => {
            assert_eq!(output.status, ExitStatus::Code(7), "{plan:?}");
            assert_eq!(
                output.stdout_lossy(),
                if streamed { "typed\n" } else { "\n" },
                "{plan:?}"
            );
            assert_eq!(output.stderr_lossy(), "err\n", "{plan:?}");
            assert_eq!(count_runs(&server.home, name), 1, "{plan:?}");
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
        "the next command gets another connection"
    );
    assert!(
        count_runs(&server.home, name) <= 1,
        "{plan:?}: it ran twice"
    );
    succeeded
}

/// Cuts at each of these positions. Each command records its runs.
async fn cut_at_each(
    server: &FaultyServer,
    (direction, fault): (Direction, StreamFault),
    streamed: bool,
    positions: impl Iterator<Item = u64> + Clone,
) {
    let name = |position| format!("run-{direction:?}-{fault:?}-{streamed}-{position}");
    let round = |position| async move {
        let plan = FaultPlan::new()
            .fail_after(position, direction, fault)
            .with_short_transfers(position);
        run_once(server, &name(position), plan, streamed).await
    };
    let rounds: Vec<bool> = futures_util::stream::iter(positions.clone())
        .map(round)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let succeeded = rounds.iter().filter(|succeeded| **succeeded).count();
    assert!(
        succeeded > 0 && succeeded < rounds.len(),
        "{succeeded} of {} succeeded",
        rounds.len()
    );
    for position in positions {
        assert!(
            count_runs(&server.home, &name(position)) <= 1,
            "it ran a second time, later"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte_from_the_server() {
    let server = FaultyServer::for_in_process(&InProcessSshd::new());
    let positions = cut_positions(&measure_lengths(&server, Direction::Read).await, 61, 1);
    cut_at_each(
        &server,
        (Direction::Read, StreamFault::Reset),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_every_byte_to_the_server() {
    let server = FaultyServer::for_in_process(&InProcessSshd::new());
    let positions = cut_positions(&measure_lengths(&server, Direction::Write).await, 61, 1);
    cut_at_each(
        &server,
        (Direction::Write, StreamFault::Reset),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_any_byte_from_the_server() {
    let server = FaultyServer::for_in_process(&InProcessSshd::new());
    let positions = cut_positions(&measure_lengths(&server, Direction::Read).await, 127, 7);
    cut_at_each(
        &server,
        (Direction::Read, StreamFault::Eof),
        false,
        positions,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_of_a_streamed_command() {
    let server = FaultyServer::for_in_process(&InProcessSshd::new());
    for direction in [Direction::Read, Direction::Write] {
        let positions = cut_positions(&measure_lengths(&server, direction).await, 211, 7);
        cut_at_each(&server, (direction, StreamFault::Reset), true, positions).await;
    }
}

/// Only during commands, because some versions refuse logins for a while after cut-off ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_at_any_byte_with_openssh() {
    let Some(sshd) = support::openssh::start(&["MaxStartups 100"]) else {
        return;
    };
    let server = FaultyServer::for_daemon(&sshd);
    for (direction, step) in [(Direction::Read, 11), (Direction::Write, 13)] {
        let lengths = measure_lengths(&server, direction).await;
        let positions = (lengths.session..lengths.command + 40).step_by(step);
        for streamed in [false, true] {
            cut_at_each(
                &server,
                (direction, StreamFault::Reset),
                streamed,
                positions.clone(),
            )
            .await;
        }
    }
}
