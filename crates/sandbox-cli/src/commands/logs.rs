//! `sandbox logs`: prints the output of a job, or the log of the sandbox's server.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use sandbox::{Client, Escaped, ExecEvent, LogOptions, Process, Sandbox};

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;
use crate::ui::streams::{Output, Piece};

/// Show the output of a job
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

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    if args.system {
        return print_server_log(args, client).await;
    }
    let sandbox = id::connect(client, &args.id).await?;
    print_job_log(args, &sandbox).await
}

async fn print_job_log(args: Args, sandbox: &Sandbox) -> Outcome {
    let job = find_job(sandbox, args.job.as_deref()).await?;
    let mut position = 0;
    let mut output = Some(Output::start());
    if !args.follow || args.lines.is_some() {
        let log = Bytes::from(job.logs().await?);
        position = log.len() as u64;
        write(&mut output, log.slice(find_tail(&log, args.lines)..)).await;
    }
    let mut code = 0;
    if args.follow {
        code = follow(job.follow_from(position).await?, &mut output).await?;
    }
    finish(output, code).await
}

/// Writes the output as it arrives, and returns the exit code of the job.
async fn follow(mut process: Process, output: &mut Option<Output>) -> Outcome {
    while let Some(event) = process.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                write(output, bytes).await;
                if output.is_none() {
                    return Ok(0);
                }
            }
            ExecEvent::Exited(status) => return Ok(status.shell_code()),
        }
    }
    anyhow::bail!("the exit status of the job is unknown: the connection closed before it arrived")
}

/// Passes output to the writer. Sets the writer to `None` if nothing can be written any more.
async fn write(output: &mut Option<Output>, bytes: Bytes) {
    let Some(writer) = output else { return };
    let Some(permit) = writer.reserve().await else {
        *output = None;
        return;
    };
    permit.send(Piece::Stdout(bytes));
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
    let mut stdout = std::io::stdout();
    let escape = stdout.is_terminal();
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

/// The offset at which the last `lines` lines begin.
fn find_tail(log: &[u8], lines: Option<usize>) -> usize {
    let Some(lines) = lines else { return 0 };
    // The newline at the end of the last line begins no further line.
    let body = log.strip_suffix(b"\n").unwrap_or(log);
    if lines == 0 {
        return log.len();
    }
    let mut starts = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    starts.nth(lines - 1).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        assert_eq!(find_printable_end(b"one\ntwo\nthr"), 8);
        assert_eq!(find_printable_end(b"thr"), 0);
        let long = "\u{e9}".repeat(MAX_LINE);
        // The character may be incomplete, so it is printed with the next piece.
        assert_eq!(find_printable_end(long.as_bytes()), long.len() - 2);
        let cut = &long.as_bytes()[..long.len() - 1];
        assert_eq!(find_printable_end(cut), cut.len() - 1);
        assert_eq!(escape_text(b"a\x1b[2J\r\nb\n"), "a\\u{1b}[2J\nb\n");
    }

    #[test]
    fn the_tail_has_complete_lines() {
        let log = b"a\nbb\nccc";
        for (lines, offset) in [
            (None, 0),
            (Some(0), 8),
            (Some(1), 5),
            (Some(2), 2),
            (Some(3), 0),
            (Some(9), 0),
        ] {
            assert_eq!(find_tail(log, lines), offset, "{lines:?}");
        }
        assert_eq!(find_tail(b"a\nb\n", Some(1)), 2);
        assert_eq!(find_tail(b"", Some(1)), 0);
    }
}
