//! Runs a command attached to this program's stdin, stdout, stderr, terminal and signals, for `run`
//! and `exec`.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sandbox::{ExecEvent, ExitStatus, Notice, Process, ProcessControl, Sandbox, Signal};
use tokio::time::{Instant, sleep_until, timeout};

use crate::args::exec::CommandOptions;
use crate::interrupt::{Interrupt, Interrupts};
use crate::ui::messages;
use crate::ui::streams::{InputEnd, Output, Piece, forward_stdin};
use crate::ui::terminal::{RawMode, Resizes};

/// How long a command may run and write output after a signal. After Ctrl-C there is no limit: the
/// user can press it again, and a note says so after this time.
const OUTPUT_DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The most notices that are printed for one command.
const MAX_NOTICES: usize = 8;
/// The exit code that a shell reports for a program that wrote to a closed pipe.
const EXIT_PIPE: u8 = 141;

/// Why this program stops running the command.
enum Ending {
    Exited(ExitStatus),
    Interrupted(Interrupt),
    OutputClosed,
}

/// Runs a command to its end and returns the exit code. A signal to this program is forwarded to
/// the command, which then has time to end; a second signal ends it at once.
pub(crate) async fn run_attached(
    options: &CommandOptions,
    sandbox: &Sandbox,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Result<u8> {
    let tty = options.has_tty();
    let command = options.prepare(sandbox)?;
    let mut process = tokio::select! {
        process = command.spawn() => process?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    let raw = if tty { RawMode::enter()? } else { None };
    let mut notices = Vec::new();
    let ending = run_process(&mut process, tty, raw.is_some(), interrupts, &mut notices).await;
    drop(raw);
    for notice in notices.into_iter().filter(|_| !quiet) {
        print_notice(notice);
    }
    Ok(match ending? {
        Ending::Exited(status) => status.shell_code(),
        Ending::Interrupted(signal) => signal.exit_code(),
        Ending::OutputClosed => EXIT_PIPE,
    })
}

/// Reports what is missing. Where standard error is no terminal, only lost output is reported, because its commands must not fail on a file that any of them can write.
fn print_notice(notice: Notice) {
    if notice != Notice::EnvironmentTruncated || io::stderr().is_terminal() {
        messages::print_note(&notice.to_string());
    }
}

/// Runs the command, then writes the output that is still buffered.
async fn run_process(
    process: &mut Process,
    tty: bool,
    raw: bool,
    interrupts: &mut Interrupts,
    notices: &mut Vec<Notice>,
) -> Result<Ending> {
    let output = Output::start();
    let ending = pump(process, &output, tty, raw, interrupts, notices).await;
    let drain_timeout = match ending {
        Ok(Ending::Interrupted(_)) => OUTPUT_DRAIN_TIMEOUT,
        // A pager may be reading, which has no time limit.
        _ => Duration::MAX,
    };
    let written = tokio::select! {
        biased;
        written = timeout(drain_timeout, output.finish()) => written,
        signal = interrupts.next() => return Ok(Ending::Interrupted(signal)),
    };
    match (ending?, written) {
        (Ending::Interrupted(signal), _) => Ok(Ending::Interrupted(signal)),
        (_, Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ending::OutputClosed)
        }
        (_, Ok(Err(error))) => Err(error).context("cannot write the output of the command"),
        (ending, _) => Ok(ending),
    }
}

/// Forwards stdin, output, signals and terminal sizes until the command ends.
async fn pump(
    process: &mut Process,
    output: &Output,
    tty: bool,
    raw: bool,
    interrupts: &mut Interrupts,
    notices: &mut Vec<Notice>,
) -> Result<Ending> {
    let control = process.control();
    let stdin = process.take_stdin();
    let mut input = pin!(async move {
        match stdin {
            Some(stdin) => forward_stdin(stdin, tty).await,
            None => Ok(InputEnd::Closed),
        }
    });
    let mut resizes = if tty { Some(Resizes::new()?) } else { None };
    let mut interrupted: Option<(Interrupt, Instant)> = None;
    let mut has_noted = false;
    let mut piece: Option<Piece> = None;
    let mut input_open = true;
    loop {
        tokio::select! {
            biased;
            // Signals: the first is forwarded, the second ends this program.
            signal = interrupts.next() => match interrupted {
                Some((first, _)) => return Ok(Ending::Interrupted(first)),
                None => {
                    interrupted = Some((signal, Instant::now() + OUTPUT_DRAIN_TIMEOUT));
                    forward_signal(&control, signal.signal()).await;
                }
            },
            first = wait_for_drain_timeout(interrupted), if !has_noted => {
                // In raw mode keys go to the command, so a second Ctrl-C would not be seen here.
                if first != Interrupt::Int || raw {
                    return Ok(Ending::Interrupted(first));
                }
                has_noted = true;
                if io::stderr().is_terminal() {
                    messages::print_note(
                        "the command was interrupted but has not ended; press Ctrl-C again to kill it",
                    );
                }
            }
            // Output: one piece at a time, so that a slow reader slows the command down.
            event = process.next(), if piece.is_none() => match event.transpose()? {
                Some(ExecEvent::Stdout(bytes)) => piece = Some(Piece::Stdout(bytes)),
                Some(ExecEvent::Stderr(bytes)) => piece = Some(Piece::Stderr(bytes)),
                // They are printed after the output. A hostile server may repeat them.
                Some(ExecEvent::Notice(notice)) => if !notices.contains(&notice) && notices.len() < MAX_NOTICES {
                    notices.push(notice);
                },
                Some(ExecEvent::Exited(status)) => return Ok(Ending::Exited(status)),
                None => bail!("the exit status of the command is unknown: the connection closed before it arrived"),
            },
            permit = output.reserve(), if piece.is_some() => match (permit, piece.take()) {
                (Some(permit), Some(piece)) => permit.send(piece),
                _ => return Ok(Ending::OutputClosed),
            },
            // Input, and the size of the terminal.
            read = &mut input, if input_open => {
                input_open = false;
                if matches!(read.context("cannot read stdin")?, InputEnd::Eof) && raw {
                    // In raw mode no key ends the input, so the terminal was closed.
                    return Ok(Ending::Interrupted(Interrupt::Hup));
                }
            }
            size = wait_for_resize(&mut resizes) => {
                if let Err(error) = control.resize(size).await {
                    tracing::debug!(%error, "terminal size not forwarded; the command has ended");
                }
            }
        }
    }
}

/// Returns the first signal after [`OUTPUT_DRAIN_TIMEOUT`].
async fn wait_for_drain_timeout(interrupted: Option<(Interrupt, Instant)>) -> Interrupt {
    match interrupted {
        Some((signal, until)) => {
            sleep_until(until).await;
            signal
        }
        None => std::future::pending().await,
    }
}

async fn wait_for_resize(resizes: &mut Option<Resizes>) -> sandbox::PtySize {
    match resizes {
        Some(resizes) => resizes.next().await,
        None => std::future::pending().await,
    }
}

/// Forwards a signal to the command. A failure is only logged, because this program has to exit
/// even if the command has ended already or the connection hangs.
async fn forward_signal(control: &ProcessControl, signal: Signal) {
    match timeout(Duration::from_secs(1), control.signal(signal)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "signal not forwarded; the command has ended"),
        Err(_elapsed) => tracing::debug!("signal not forwarded; timed out"),
    }
}
