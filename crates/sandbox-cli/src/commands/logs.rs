//! `sandbox logs`: prints the output of a job, or the log of the sandbox's server.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use sandbox::{Client, Escaped, ExecEvent, LogOptions, Notice, Process, Sandbox};

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::stdio::Stdout;
use crate::ui::streams::{Output, Piece};
use crate::ui::tail::{Tail, TailPiece};

/// Show the output of a job
///
/// The log of a job keeps the first and the last 32 MiB of its output. A line on stderr says where
/// output is left out.
///
/// With -f, the exit code is that of the job; 128 plus the signal if a signal ended it; 125 if it
/// is unknown. Interrupting this command does not affect the job.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Follow the output until the job ends
    #[arg(short, long)]
    follow: bool,
    /// Show only the last N lines
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N")]
    lines: Option<usize>,
    /// Show the log of the sandbox's SSH server instead of a job's output
    #[arg(long, conflicts_with = "job")]
    system: bool,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Id of the job or a unique prefix of it; by default, the job that was started last
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// How much of a line is kept until its end arrives, in bytes. The server's log comes from inside the
/// sandbox.
const MAX_LINE: usize = 64 << 10;

const EXAMPLES: &str = "Examples:
  sandbox logs ID
  sandbox logs -f -n 20 ID job-4tq8xw
  sandbox logs --system ID";

pub(crate) async fn run(args: Args, client: &Client, quiet: bool) -> Outcome {
    if args.system {
        return print_server_log(args, client).await;
    }
    let sandbox = id::connect(client, &args.id).await?;
    print_job_log(args, &sandbox, quiet).await
}

async fn print_job_log(args: Args, sandbox: &Sandbox, quiet: bool) -> Outcome {
    let job = find_job(sandbox, args.job.as_deref()).await?;
    let mut printer = Printer {
        output: Some(Output::start()),
        position: 0,
        quiet,
    };
    let mut code = 0;
    if let Some(lines) = args.lines {
        printer.print_tail(job.snapshot().await?, lines).await?;
    } else if !args.follow {
        printer.print_snapshot(job.snapshot().await?).await?;
    }
    if args.follow && printer.output.is_some() {
        code = printer
            .follow(job.follow_from(printer.position).await?)
            .await?;
    }
    finish(printer.output, code).await
}

/// Writes the log of a job, and notes on stderr about what it lacks.
struct Printer {
    /// `None` if nothing can be written any more.
    output: Option<Output>,
    /// The bytes of the job's output so far, with those that are left out.
    position: u64,
    quiet: bool,
}

impl Printer {
    /// Writes the last lines of a log.
    async fn print_tail(&mut self, mut log: Process, lines: usize) -> anyhow::Result<()> {
        let mut tail = Tail::new(lines);
        while let Some(event) = log.next().await {
            let event = event?;
            self.count(&event);
            match event {
                ExecEvent::Stdout(bytes) => tail.push(&bytes),
                ExecEvent::Notice(Notice::Omitted { bytes }) => tail.skip(bytes),
                event => self.print(event).await,
            }
        }
        for piece in tail.into_pieces() {
            let event = match piece {
                TailPiece::Bytes(bytes) => ExecEvent::Stdout(bytes.into()),
                TailPiece::Omitted(bytes) => ExecEvent::Notice(Notice::Omitted { bytes }),
                TailPiece::Cut => {
                    let note = self
                        .format_note("the beginning of these lines is left out: they are too long");
                    write(&mut self.output, Piece::Stderr(note)).await;
                    continue;
                }
            };
            self.print(event).await;
        }
        Ok(())
    }

    /// Writes a log as it arrives, until its present end.
    async fn print_snapshot(&mut self, mut log: Process) -> anyhow::Result<()> {
        while self.output.is_some()
            && let Some(event) = log.next().await
        {
            self.print(event?).await;
        }
        Ok(())
    }

    /// Writes the output as it arrives, and returns the exit code of the job.
    async fn follow(&mut self, mut process: Process) -> Outcome {
        while let Some(event) = process.next().await {
            match event? {
                ExecEvent::Exited(status) => return Ok(status.shell_code()),
                event => self.print(event).await,
            }
            if self.output.is_none() {
                return Ok(0);
            }
        }
        anyhow::bail!(
            "the exit status of the job is unknown: the connection closed before it arrived"
        )
    }

    async fn print(&mut self, event: ExecEvent) {
        let piece = match event {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => Piece::Stdout(bytes),
            ExecEvent::Notice(Notice::OutputHeld) => Piece::Stderr(self.format_note(
                "a process that the job has started may still write to the log after its end",
            )),
            ExecEvent::Notice(notice) => Piece::Stderr(self.format_note(&notice.to_string())),
            ExecEvent::Exited(_) => return,
        };
        write(&mut self.output, piece).await;
    }

    fn format_note(&self, text: &str) -> Bytes {
        if self.quiet {
            Bytes::new()
        } else {
            Bytes::from(messages::format_note(text).as_str().to_owned())
        }
    }

    fn count(&mut self, event: &ExecEvent) {
        self.position = self.position.saturating_add(match event {
            ExecEvent::Stdout(bytes) => bytes.len() as u64,
            ExecEvent::Notice(Notice::Omitted { bytes }) => *bytes,
            _ => 0,
        });
    }
}

/// Passes output to the writer. Sets the writer to `None` if nothing can be written any more.
async fn write(output: &mut Option<Output>, piece: Piece) {
    let Some(writer) = output else { return };
    let Some(permit) = writer.reserve().await else {
        *output = None;
        return;
    };
    permit.send(piece);
}

async fn finish(output: Option<Output>, code: u8) -> Outcome {
    // A closed pipe is not an error.
    let Some(output) = output else {
        return Ok(code);
    };
    match output.finish().await {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(code),
    }
}

/// Prints the server's log. Unlike the output of a program, it is escaped for a terminal.
async fn print_server_log(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let mut options = LogOptions::default();
    options.tail_lines = args.lines;
    options.follow = args.follow;
    let mut log = client.logs(&id, options).await?;
    let mut stdout = Stdout;
    let escape = std::io::stdout().is_terminal();
    let mut line = Vec::new();
    while let Some(piece) = log.next().await {
        let piece = piece?;
        let written = if escape {
            line.extend_from_slice(&piece);
            let complete: Vec<u8> = line.drain(..find_printable_end(&line)).collect();
            if complete.is_empty() {
                continue;
            }
            stdout.write_all(escape_text(&complete).as_bytes())
        } else {
            stdout.write_all(&piece)
        };
        match written.and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            written => written.context("cannot write to stdout")?,
        }
    }
    if !line.is_empty() {
        stdout
            .write_all(format!("{}\n", escape_text(&line)).as_bytes())
            .context("cannot write to stdout")?;
    }
    Ok(0)
}

/// Returns how much of this text to print now: all complete lines, and of a line without an end that
/// is longer than [`MAX_LINE`], all complete characters.
fn find_printable_end(text: &[u8]) -> usize {
    match text.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => at + 1,
        None if text.len() < MAX_LINE => 0,
        None => {
            // A character has at most four bytes, of which all but the first begin with the bits 10.
            let is_first = |byte: &u8| *byte & 0xc0 != 0x80;
            let last = text.iter().rev().take(4).position(is_first);
            last.map_or(text.len(), |from_end| text.len() - from_end - 1)
        }
    }
}

/// Escapes all characters but line feeds.
fn escape_text(text: &[u8]) -> String {
    let lines = text
        .split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .map(|line| Escaped::new(line).to_string());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        assert_eq!(find_printable_end(b"one\ntwo\nhalf"), 8);
        assert_eq!(find_printable_end(b"half"), 0);
        let long = "\u{e9}".repeat(MAX_LINE);
        // The character may be incomplete, so it is printed with the next piece.
        assert_eq!(find_printable_end(long.as_bytes()), long.len() - 2);
        let cut = &long.as_bytes()[..long.len() - 1];
        assert_eq!(find_printable_end(cut), cut.len() - 1);
        assert_eq!(escape_text(b"a\x1b[2J\r\nb\n"), "a\\u{1b}[2J\nb\n");
    }
}
