//! One command with this program's input, output, terminal and signals: what `run` and `exec`
//! have in common.

use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sandbox::{ExecEvent, ExitStatus, Process, ProcessControl, Sandbox, Signal};
use tokio::time::{Instant, sleep_until, timeout};

use crate::args::exec::CommandOptions;
use crate::interrupt::{Interrupt, Interrupts};
use crate::ui::messages;
use crate::ui::streams::{InputEnd, Output, Piece, feed};
use crate::ui::terminal::{RawMode, Resizes};

/// How long a command may take to end after a signal. After Control-C it may take as long as it likes: who
/// pressed that can press it again, and is told so after this time.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// What a shell reports of a program that wrote to a closed pipe.
const EXIT_PIPE: u8 = 141;

/// How it ended, as far as this program is concerned.
enum Ending {
    Exited(ExitStatus),
    Interrupted(Interrupt),
    OutputClosed,
}

/// Runs a command to its end and gives the exit code. A signal to this program goes to the command, which
/// then has time to end; a second one ends it at once.
pub(crate) async fn run_attached(
    options: &CommandOptions,
    sandbox: &Sandbox,
    interrupts: &mut Interrupts,
) -> Result<u8> {
    let tty = options.has_tty();
    let command = options.prepare(sandbox)?;
    let mut process = tokio::select! {
        process = command.spawn() => process?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    let raw = if tty { RawMode::enter()? } else { None };
    let ending = stream(&mut process, tty, raw.is_some(), interrupts).await;
    drop(raw);
    Ok(match ending? {
        Ending::Exited(status) => status.shell_code(),
        Ending::Interrupted(signal) => signal.exit_code(),
        Ending::OutputClosed => EXIT_PIPE,
    })
}

/// Everything at once, and then what is left to write.
async fn stream(
    process: &mut Process,
    tty: bool,
    raw: bool,
    interrupts: &mut Interrupts,
) -> Result<Ending> {
    let output = Output::start();
    let ending = pump(process, &output, tty, raw, interrupts).await;
    let patience = match ending {
        Ok(Ending::Interrupted(_)) => LAST_WORDS,
        // A pager may show the end for as long as its user likes.
        _ => Duration::MAX,
    };
    let written = tokio::select! {
        biased;
        written = timeout(patience, output.finish()) => written,
        signal = interrupts.next() => return Ok(Ending::Interrupted(signal)),
    };
    match (ending?, written) {
        (Ending::Interrupted(signal), _) => Ok(Ending::Interrupted(signal)),
        (_, Ok(Err(error))) if error.kind() == io::ErrorKind::BrokenPipe => {
            Ok(Ending::OutputClosed)
        }
        (_, Ok(Err(error))) => Err(error).context("cannot write the command's output"),
        (ending, _) => Ok(ending),
    }
}

async fn pump(
    process: &mut Process,
    output: &Output,
    tty: bool,
    raw: bool,
    interrupts: &mut Interrupts,
) -> Result<Ending> {
    let control = process.control();
    let stdin = process.take_stdin();
    let mut input = pin!(async move {
        match stdin {
            Some(stdin) => feed(stdin, tty).await,
            None => Ok(InputEnd::Refused),
        }
    });
    let mut resizes = if tty { Some(Resizes::new()?) } else { None };
    let mut interrupted: Option<(Interrupt, Instant)> = None;
    let mut told = false;
    let mut piece: Option<Piece> = None;
    let mut input_open = true;
    loop {
        tokio::select! {
            biased;
            signal = interrupts.next() => match interrupted {
                Some((first, _)) => return Ok(Ending::Interrupted(first)),
                None => {
                    interrupted = Some((signal, Instant::now() + LAST_WORDS));
                    pass_on(&control, signal.signal()).await;
                }
            },
            first = too_late(interrupted), if !told => {
                // Where keys are passed on, a second one would not come here.
                if first != Interrupt::Int || raw {
                    return Ok(Ending::Interrupted(first));
                }
                told = true;
                if io::stderr().is_terminal() {
                    messages::note(
                        "the command was interrupted and has not ended yet; Control-C once more ends it at once",
                    );
                }
            }
            event = process.next(), if piece.is_none() => match event.transpose()? {
                Some(ExecEvent::Stdout(bytes)) => piece = Some(Piece::Stdout(bytes)),
                Some(ExecEvent::Stderr(bytes)) => piece = Some(Piece::Stderr(bytes)),
                Some(ExecEvent::Exited(status)) => return Ok(Ending::Exited(status)),
                None => bail!("the command's end is unknown: its connection ended without a word"),
            },
            room = output.room(), if piece.is_some() => match (room, piece.take()) {
                (Some(room), Some(piece)) => room.send(piece),
                _ => return Ok(Ending::OutputClosed),
            },
            read = &mut input, if input_open => {
                input_open = false;
                if matches!(read.context("cannot read standard input")?, InputEnd::Reached) && raw {
                    // In raw mode no key is an end: the terminal has gone.
                    return Ok(Ending::Interrupted(Interrupt::Hup));
                }
            }
            size = resized(&mut resizes) => {
                if let Err(error) = control.resize(size).await {
                    tracing::debug!(%error, "the terminal's new size came too late");
                }
            }
        }
    }
}

/// The first signal, when the time for last words is over.
async fn too_late(interrupted: Option<(Interrupt, Instant)>) -> Interrupt {
    match interrupted {
        Some((signal, until)) => {
            sleep_until(until).await;
            signal
        }
        None => std::future::pending().await,
    }
}

async fn resized(resizes: &mut Option<Resizes>) -> sandbox::PtySize {
    match resizes {
        Some(resizes) => resizes.next().await,
        None => std::future::pending().await,
    }
}

/// Tells the command. It may have ended meanwhile, or its connection may hang: what counts is
/// that this program ends.
async fn pass_on(control: &ProcessControl, signal: Signal) {
    match timeout(Duration::from_secs(1), control.signal(signal)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the signal came too late"),
        Err(_elapsed) => tracing::debug!("the signal could not be passed on"),
    }
}
