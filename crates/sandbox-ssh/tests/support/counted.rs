//! A command that notes each of its runs, and how many bytes it takes.

use std::path::Path;
use std::sync::Arc;

use sandbox_core::{ExecRequest, Output, Result, Session};
use sandbox_testkit::faults::Direction;
use tokio::io::AsyncWriteExt;

use super::contract::CAP;
use super::server::Server;

/// Bytes that pass until there is a session, and until a command is done.
pub(crate) struct Lengths {
    pub(crate) session: u64,
    pub(crate) command: u64,
}

pub(crate) async fn lengths(server: &Server, direction: Direction) -> Lengths {
    let (connector, sessions) = server.faulty([]);
    let session = super::session(&sessions, &server.access).await;
    let passed = || connector.switches()[0].byte_count(direction);
    let before = passed();
    counted(&session, "measured", false).await.unwrap();
    Lengths {
        session: before,
        command: passed(),
    }
}

/// Every byte of a command, and some of the handshake.
pub(crate) fn positions(
    lengths: &Lengths,
    of_handshake: usize,
    of_command: usize,
) -> impl Iterator<Item = u64> + Clone + use<> {
    (0..lengths.session)
        .step_by(of_handshake)
        .chain((lengths.session..lengths.command + 40).step_by(of_command))
}

/// A command that notes each of its runs, and whose end is well known.
pub(crate) async fn counted(
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
    // A lost connection is told by the process.
    stdin.write_all(b"typed\n").await.ok();
    process.output(CAP).await
}

/// How often it ran.
pub(crate) fn runs(home: &Path, name: &str) -> usize {
    std::fs::read_to_string(home.join(name))
        .unwrap_or_default()
        .lines()
        .count()
}
