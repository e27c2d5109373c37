//! Starting a program with pipes or in a terminal, and the server's ends of its streams.

use std::io;
use std::process::Stdio;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Child;

use super::program::{Program, StartError};
use super::pty::{Terminal, TerminalWriter};
use super::spawn::{Spawner, spawn_in_group};
use super::table::Leader;

/// A started process with its streams.
pub(crate) struct StartedProcess {
    pub(crate) child: Child,
    pub(crate) leader: Leader,
    /// `None` if it reads end of file at once.
    pub(crate) stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// `None` in a terminal, which has one stream for all output.
    pub(crate) stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    pub(crate) terminal: Option<TerminalWriter>,
}

impl StartedProcess {
    /// Starts a program with a pipe for each of its streams.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub(crate) async fn with_pipes(
        spawner: &Spawner,
        program: &Program,
        has_stdin: bool,
    ) -> Result<Self, StartError> {
        let spawn = move |program: &Program| {
            let stdin = if has_stdin {
                Stdio::piped()
            } else {
                // A pipe without a writer, because the image may have no /dev/null.
                Stdio::from(io::pipe()?.0)
            };
            let mut child = spawn_in_group(program, [stdin, Stdio::piped(), Stdio::piped()])?;
            let stdin = child.stdin.take();
            let outputs = child.stdout.take().zip(child.stderr.take());
            let outputs = outputs.filter(|_| stdin.is_some() == has_stdin);
            let (stdout, stderr) = outputs.ok_or_else(|| io::Error::other("a pipe is missing"))?;
            Ok((child, (stdin, stdout, stderr)))
        };
        let (child, leader, (stdin, stdout, stderr)) = spawner.start(program, spawn).await?;
        Ok(Self {
            child,
            leader,
            stdin: stdin.map(|stdin| Box::new(stdin) as _),
            stdout: Box::new(stdout),
            stderr: Some(Box::new(stderr)),
            terminal: None,
        })
    }

    /// Starts a program in this terminal.
    ///
    /// # Errors
    ///
    /// If it cannot be run.
    pub(crate) async fn in_terminal(
        spawner: &Spawner,
        program: &Program,
        terminal: Terminal,
    ) -> Result<Self, StartError> {
        let mut terminal = Some(terminal);
        let spawn = move |program: &Program| {
            let unused = terminal
                .take()
                .ok_or_else(|| io::Error::other("a program runs in the terminal"))?;
            match unused.spawn(program) {
                Ok(child) => Ok((child, unused.into_streams())),
                Err(error) => {
                    // The next attempt has the same terminal.
                    terminal = Some(unused);
                    Err(error)
                }
            }
        };
        let (child, leader, (reader, writer)) = spawner.start(program, spawn).await?;
        Ok(Self {
            child,
            leader,
            stdin: Some(Box::new(writer.clone())),
            stdout: Box::new(reader),
            stderr: None,
            terminal: Some(writer),
        })
    }
}
