//! A command that records each of its runs, and the bytes that it needs.

use std::path::Path;
use std::sync::Arc;

use sandbox_core::{ExecRequest, Output, Result, Session};
use sandbox_testkit::faults::Direction;
use tokio::io::AsyncWriteExt;

use super::contract::CAP;
use super::faulty_server::FaultyServer;

/// Bytes that pass until a session is connected, and until a command has ended.
pub(crate) struct Lengths {
    pub(crate) session: u64,
    pub(crate) command: u64,
}

pub(crate) async fn measure_lengths(server: &FaultyServer, direction: Direction) -> Lengths {
    let (connector, sessions) = server.faulty([]);
    let session = super::session(&sessions, &server.access).await;
    let passed = || connector.switches()[0].byte_count(direction);
    let before = passed();
    run_counted(&session, "measured", false).await.unwrap();
    Lengths {
        session: before,
        command: passed(),
    }
}

/// Positions in a command and in the handshake, in these steps.
pub(crate) fn cut_positions(
    lengths: &Lengths,
    of_handshake: usize,
    of_command: usize,
) -> impl Iterator<Item = u64> + Clone + use<> {
    (0..lengths.session)
        .step_by(of_handshake)
        .chain((lengths.session..lengths.command + 40).step_by(of_command))
}

/// Runs a command that records each of its runs.
pub(crate) async fn run_counted(
    session: &Arc<dyn Session>,
    name: &str,
    streamed: bool,
) -> Result<Output> {
    let mut request = ExecRequest::from_shell(format!(
        "echo x >> {name}; read line; echo $line; echo err >&2; exit 7"
    ));
    if !streamed {
        return session.output(request, CAP).await;
    }
    request.stdin = true;
    let mut process = session.exec(request).await?;
    let mut stdin = process.take_stdin().unwrap();
    // A lost connection is reported by the process.
    stdin.write_all(b"typed\n").await.ok();
    process.output(CAP).await
}

/// Counts the runs of a command.
pub(crate) fn count_runs(home: &Path, name: &str) -> usize {
    std::fs::read_to_string(home.join(name))
        .unwrap_or_default()
        .lines()
        .count()
}
