//! One command on one channel, from its start to its exit status.

use std::convert::Infallible;
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::Signal;
use sandbox_core::Notice;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::program::{Program, StartError};
use super::pty::{Terminal, TerminalWriter};
use super::spawn::Spawner;
use super::started::StartedProcess;
use super::table::Leader;
use crate::channel::input::InputReader;
use crate::channel::io::{ChannelIo, Control, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit, Output};
use crate::channel::pump::{OutputEnd, OutputStream, pump};

/// Grace for the other processes of a group once its leader has ended after SIGHUP.
const GROUP_GRACE: Duration = Duration::from_millis(200);
/// Interval at which a hung-up leader is checked.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The byte that a terminal reads as the end of input.
const END_OF_TRANSMISSION: [u8; 1] = [4];

/// How long is waited at the end of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Graces {
    /// For the processes of a command whose channel was closed, before they are killed.
    pub(crate) kill: Duration,
    /// For output, while another process holds it open and writes nothing.
    pub(crate) output: Duration,
}

/// Runs a command to its end. If the channel is closed first, the command's process group gets
/// SIGHUP, and SIGKILL after a grace.
pub(crate) async fn run(
    spawner: &Spawner,
    program: Result<Program, StartError>,
    terminal: Option<Terminal>,
    channel: ChannelIo,
    graces: Graces,
) -> Result<(), ChannelClosed> {
    let closed = channel.input.closed_token();
    let started = match (program, terminal) {
        (Ok(program), Some(terminal)) => {
            StartedProcess::in_terminal(spawner, &program, terminal).await
        }
        (Ok(program), None) => StartedProcess::with_pipes(spawner, &program, true).await,
        (Err(error), _) => Err(error),
    };
    match started {
        Ok(command) => supervise(command, channel, graces).await,
        Err(error) => send_unless_closed(&closed, report_start_error(&channel.output, error)).await,
    }
}

/// Sends the reason why a command was not started, and its exit code.
pub(crate) async fn report_start_error(
    output: &Output,
    error: StartError,
) -> Result<(), ChannelClosed> {
    output.send_error(&error.message).await?;
    output.finish(Some(Exit::Code(error.exit_code))).await
}

/// Passes data and control requests between the command and its channel until the command has
/// ended and its output is sent, or until the channel is closed.
async fn supervise(
    command: StartedProcess,
    channel: ChannelIo,
    graces: Graces,
) -> Result<(), ChannelClosed> {
    let StartedProcess {
        mut child,
        leader,
        stdin,
        stdout,
        stderr,
        terminal,
    } = command;
    let ChannelIo {
        mut input,
        output,
        mut control,
    } = channel;
    let closed = input.closed_token();
    let exited = CancellationToken::new();
    let supervised = async {
        // The command's end, during which signals and window sizes are delivered.
        let waiting = async {
            let status = wait(&mut child, &leader, &mut control, terminal.as_ref()).await;
            exited.cancel();
            status
        };
        // Both output streams. A terminal has only one.
        let end = OutputEnd {
            exited: &exited,
            grace: graces.output,
        };
        let errors = async {
            match stderr {
                Some(stderr) => pump(stderr, OutputStream::Stderr, &output, end).await,
                None => Ok(false),
            }
        };
        let reading =
            async { tokio::try_join!(pump(stdout, OutputStream::Stdout, &output, end), errors) };
        let ending = async { tokio::join!(waiting, reading) };
        // Input, which may continue after the command's end and is not waited for.
        let feeding = async {
            if let Err(error) = feed(&mut input, stdin, terminal.is_some()).await {
                // A command must not mistake a part of its input for all of it.
                leader.signal_group(Signal::SIGKILL);
                output
                    .send_error(&format!(
                        "command killed because its standard input was lost: {error}"
                    ))
                    .await
                    .ok();
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            ended = ending => ended,
            never = feeding => match never {},
        }
    };
    tokio::select! {
        biased;
        (status, sent) = supervised => {
            drop(leader);
            let (stdout_held, stderr_held) = sent?;
            send_unless_closed(&closed, async {
                if stdout_held || stderr_held {
                    output.send_notice(Notice::OutputHeld).await?;
                }
                match status {
                    Ok(status) => output.finish(Some(status.into())).await,
                    Err(error) => {
                        output.send_error(&format!("exit status lost: {error}")).await?;
                        output.finish(None).await
                    }
                }
            })
            .await
        }
        () = closed.cancelled() => {
            // Closing the last descriptor of a terminal hangs it up, too.
            drop(terminal);
            hang_up(child, leader, graces.kill).await;
            Err(ChannelClosed)
        }
    }
}

/// Waits for the command's end, and delivers control requests meanwhile.
async fn wait(
    child: &mut Child,
    leader: &Leader,
    control: &mut mpsc::Receiver<Control>,
    terminal: Option<&TerminalWriter>,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            Some(control) = control.recv() => match (control, terminal) {
                (Control::Signal(signal), _) => leader.deliver_signal(&signal),
                (Control::Resize(size), Some(terminal)) => terminal.resize(size),
                (Control::Resize(_), None) => {}
            },
        }
    }
}

/// Writes the input to the command until the input ends or the command stops reading.
async fn feed(
    input: &mut InputReader,
    stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    is_terminal: bool,
) -> io::Result<()> {
    if let Some(mut stdin) = stdin {
        let mut is_open = true;
        while is_open && let Some(data) = next_unless_closed(input).await? {
            is_open = stdin.write_all(&data).await.is_ok();
        }
        if is_terminal && is_open {
            // This fails if the command no longer reads, and then it needs no end of input.
            stdin.write_all(&END_OF_TRANSMISSION).await.ok();
        }
    }
    input.discard();
    Ok(())
}

/// Returns the next input. If the channel was closed before its end, this never returns: the command is
/// hung up, and does not see an end of its input before that.
async fn next_unless_closed(input: &mut InputReader) -> io::Result<Option<Bytes>> {
    match input.next().await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            std::future::pending().await
        }
        next => next,
    }
}

/// Ends a command whose channel was closed. The leader is not reaped before the last signal, so
/// that no other process can get its pid.
async fn hang_up(mut child: Child, leader: Leader, grace: Duration) {
    leader.signal_group(Signal::SIGHUP);
    leader.signal_group(Signal::SIGCONT);
    let mut deadline = tokio::time::Instant::now() + grace;
    while !leader.has_ended() && tokio::time::Instant::now() < deadline {
        // What is stopped can clean up only when it continues.
        if leader.is_paused() {
            deadline = tokio::time::Instant::now() + grace;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    tokio::time::sleep(left.min(GROUP_GRACE)).await;
    leader.signal_group(Signal::SIGKILL);
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "killed command not reaped");
    }
}
